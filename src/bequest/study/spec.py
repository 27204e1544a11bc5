"""What does a study file say?

A study is a YAML file read into frozen pydantic models. Unknown keys are errors that name the nearest known one; each
field has its range. The same models are dumped into the study's folder, so a report can say exactly what was asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bequest.study.options import Analyses, Part, refuse_twice
from bequest.training.recipe import Recipe

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Channels = tuple[float, float, float]


class Source(Part):
    """Where the pre-trained weights come from: trained here on domains, or a file."""

    data: tuple[str, ...] = ()
    """Domains to pre-train on, together, as in `emoji:color`."""
    weights: Path | None = None
    """A file of weights instead of pre-training; relative to the study file."""
    recipe: Recipe = Recipe()
    """How to pre-train."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.data) == bool(self.weights):
            raise ValueError("give either `data` (domains to pre-train on) or `weights` (a file), not both or neither")
        return self


class Target(Part):
    """A data set to transfer to."""

    data: str
    """A domain, as in `emoji:line` or `folder:DIR`."""
    shots: int | None = Field(default=None, ge=1, le=1_000_000)
    """Training images a class; all of them if left out."""


class Arms(Part):
    """The trainings of each target: `finetune/0…`, `randinit/0…`, and `randinit/0b`."""

    replicas: int = Field(default=3, ge=1, le=100)
    """Repeats of each arm, with seeds of their own for init and order."""
    same_init: bool = True
    """Also train `randinit/0b`: the init of `randinit/0` with another data order."""
    learning_rates: dict[Literal["finetune", "randinit"], tuple[float, ...]] = Field(
        default={"finetune": (), "randinit": ()}
    )
    """Candidates of each arm, equally many; chosen on validation. Empty: the recipe's rate, no sweep."""
    recipe: Recipe = Recipe()
    """How to train both arms."""

    @model_validator(mode="after")
    def _equal_budget(self) -> Self:
        for arm in ("finetune", "randinit"):
            if self.learning_rates and arm not in self.learning_rates:
                raise ValueError(f"{arm} is not named; give both arms equally many learning rates")
        for arm, rates in self.learning_rates.items():
            refuse_twice(arm, [f"{rate:g}" for rate in rates])  # so they are told apart in the results
        swept = any(self.learning_rates.values())
        if swept and "learning_rate" in self.recipe.model_fields_set:
            raise ValueError("recipe.learning_rate has no influence beside learning_rates; leave one of them out")
        counts = {arm: len(rates) for arm, rates in self.learning_rates.items()}
        if len(set(counts.values())) > 1:
            numbers = " and ".join(f"{count} for {arm}" for arm, count in counts.items())
            raise ValueError(f"both arms need the same number of learning rates, not {numbers}")
        if any(not 0 < rate <= 100 for rates in self.learning_rates.values() for rate in rates):
            raise ValueError("learning rates must be above 0 and at most 100")
        return self


class Study(Part):
    """A whole study: what is pre-trained, transferred, measured."""

    name: Name
    """Names the study's folder; letters, digits, dot, dash, underscore."""
    title: str = Field(default="", max_length=200)
    """Heading of the report."""
    model: str = "resnet8"
    """A built-in model, or `package.module:function`."""
    size: int = Field(default=64, ge=8, le=1024)
    """Images are size x size pixels."""
    seed: int = Field(default=0, ge=0, lt=2**62)
    """Every random stream of the study is derived from it."""
    mean: Channels = (0.5, 0.5, 0.5)
    """Subtracted from each channel of images scaled to 0..1."""
    std: Channels = (0.5, 0.5, 0.5)
    """Divides each channel after that."""
    source: Source
    """Where the pre-trained weights come from."""
    targets: dict[Name, Target] = Field(min_length=1)
    """Data sets to transfer to, by name; the first is the one nearest to the source."""
    arms: Arms = Arms()
    """What is trained on each target."""
    analyses: Analyses = Analyses()
    """What is measured."""
