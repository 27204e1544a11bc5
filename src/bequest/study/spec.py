"""What does a study file say?

A study is a YAML file read into frozen pydantic models. Unknown keys are errors that name the nearest known one; each
field has its range. The same models are dumped into the study's folder, so a report can say exactly what was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bequest.training.recipe import Recipe

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Channels = tuple[float, float, float]
SplitName = Literal["train", "validation", "test"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _refuse_twice(where: str, words: Sequence[str]) -> None:
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"{where} names {word} twice; leave one of them out")


class Source(_Part):
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


class Target(_Part):
    """A data set to transfer to."""

    data: str
    """A domain, as in `emoji:line` or `folder:DIR`."""
    shots: int | None = Field(default=None, ge=1, le=1_000_000)
    """Training images a class; all of them if left out."""


class Arms(_Part):
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
            _refuse_twice(arm, [f"{rate:g}" for rate in rates])  # so they are told apart in the results
        counts = {arm: len(rates) for arm, rates in self.learning_rates.items()}
        if len(set(counts.values())) > 1:
            numbers = " and ".join(f"{count} for {arm}" for arm, count in counts.items())
            raise ValueError(f"both arms need the same number of learning rates, not {numbers}")
        if any(not 0 < rate <= 100 for rates in self.learning_rates.values() for rate in rates):
            raise ValueError("learning rates must be above 0 and at most 100")
        return self


class LearningCurves(_Part):
    """Options of the learning curves: none."""


class Mistakes(_Part):
    """Options of the mistakes: none."""


class Similarity(_Part):
    """Options of the similarity of features."""

    batch_size: int = Field(default=50, ge=4, le=4096)
    """Images a batch of the unbiased estimate; at least 4."""
    split: SplitName = "test"
    """The images that are shown to the models."""


class Distance(_Part):
    """Options of the distance in parameter space: none."""


class Barrier(_Part):
    """Options of the barrier on the line."""

    points: int = Field(default=21, ge=3, le=1001)
    """Points on each line, the ends included; 21 are a twentieth of the line apart."""
    pairs: Literal["default", "all"] = "default"
    """`default`: pairs within an arm, the same-init pair, and one across the arms; `all`: every pair."""
    splits: tuple[Literal["train", "test"], ...] = Field(default=("train", "test"), min_length=1)
    """Where error and loss are measured."""

    @field_validator("splits")
    @classmethod
    def _each_once(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_twice("the list", splits)
        return splits


class Analyses(_Part):
    """Which analyses to make; one that is left out is not made, unless all are left out."""

    learning_curves: LearningCurves | None = None
    mistakes: Mistakes | None = None
    similarity: Similarity | None = None
    distance: Distance | None = None
    barrier: Barrier | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: Any) -> Any:
        return {k: {} if v is None else v for k, v in value.items()} if isinstance(value, dict) else value

    def asked(self) -> dict[str, BaseModel]:
        """Give the options of the analyses to make, by name; all with their defaults if none is named."""
        kinds = {"learning_curves": LearningCurves, "mistakes": Mistakes, "similarity": Similarity}
        kinds |= {"distance": Distance, "barrier": Barrier}
        named = {name: getattr(self, name) for name in kinds if getattr(self, name) is not None}
        return named or {name: kind() for name, kind in kinds.items()}


class Study(_Part):
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
