"""Which decisions does a study make, and with which options?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bequest.study.options import Measured, Part, refuse_twice
from bequest.training.recipe import Recipe

Score = Literal["leep", "nce", "nleep", "logme", "h_score", "h_score_shrunk", "probe", "knn"]


class CheckpointChoice(Measured):
    """Options of the earliest sufficient checkpoint: fine-tunes as in that analysis, and a margin."""

    margin: float = Field(default=0.01, ge=0, le=1)
    """Accuracy that may be given up, on validation."""
    epochs: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Epochs of the pre-training to start from besides its last; left out: those of the analysis."""
    sweep: bool = False
    """Choose the learning rate again for each checkpoint; else that of finetune is used."""


class LabelCurve(Measured):
    """Options of what pre-training is worth in labels: finetune and randinit on ever more of a target."""

    sizes: tuple[int, ...] | None = Field(default=None, min_length=2)
    """Images a class; left out: all shots of the target, half of them, …, five sizes at most."""
    budget: Literal["steps", "epochs"] = "steps"
    """Each size takes as many steps as the largest, or as many epochs."""
    sweep: bool = False
    """Choose the learning rates again for each size; else those of the arms are used."""

    @field_validator("sizes")
    @classmethod
    def _each_once(cls, sizes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        refuse_twice("sizes", sizes or ())
        if sizes and min(sizes) < 1:
            raise ValueError("sizes are images a class, 1 or more")
        return sizes


class SourceChoice(Measured):
    """Options of the ranking of pre-trained weights for a target; `P`, the study's own, is among the candidates."""

    candidates: dict[str, Path] = Field(default_factory=dict)
    """Files of further weights of the study's model, by name; relative to the study file, or `package:NAME/FILE`."""
    fresh: bool = True
    """A network that was never trained is among the candidates, as `random init`: what a source has to beat."""
    by: Score = "logme"
    """The score that sorts the candidates."""
    top: int | None = Field(default=None, ge=1, le=1000)
    """How many of the first are fine-tuned; left out: all."""
    replicas: int = Field(default=1, ge=1, le=100)
    """Fine-tunes of each."""
    learning_rates: tuple[float, ...] = ()
    """Tried for each candidate; left out: those of the study's arm finetune."""


class Soup(Measured):
    """Options of averaging the fine-tunes."""

    method: Literal["greedy", "uniform"] = "greedy"
    """Which mean is written; both are measured."""
    points: int = Field(default=5, ge=3, le=1001)
    """Points on the line between two fine-tunes, ends included."""
    limit: float = Field(default=0.02, ge=0, le=1)
    """Highest barrier that counts as none, in error."""


class Freeze(Measured):
    """Options of training with frozen modules; each way is a training of its own."""

    replicas: int = Field(default=1, ge=1, le=100)
    """Repeats of each way, with the seeds of the replicas of finetune."""
    prefixes: int = Field(default=3, ge=0, le=100)
    """Frozen beginnings of the network that are tried."""
    rules: tuple[Literal["finetune", "probe", "lp-ft", "slower", "auto-rgn"], ...] = (
        "finetune",
        "probe",
        "lp-ft",
        "slower",
        "auto-rgn",
    )
    """The usual ways that are tried besides."""
    modules: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Further sets of modules to freeze, by a name of your own."""
    learning_rates: tuple[float, ...] = ()
    """Candidates of each way, chosen on validation; left out: the rate of finetune."""
    recipe: Recipe | None = None
    """How to train; left out: as the arms."""

    @field_validator("rules", "learning_rates")
    @classmethod
    def _each_once(cls, listed: tuple[Any, ...]) -> tuple[Any, ...]:
        refuse_twice("the list", listed)
        return listed

    @model_validator(mode="after")
    def _rates_in_range(self) -> Freeze:
        if any(not 0 < rate <= 100 for rate in self.learning_rates):
            raise ValueError("learning_rates must be above 0 and at most 100")
        if not (self.rules or self.prefixes or self.modules):
            raise ValueError("rules, prefixes and modules are all empty, so there is nothing to try")
        return self


class Decisions(Part):
    """Which decisions to make; one that is left out is not made."""

    soup: Soup | None = None
    freeze: Freeze | None = None
    checkpoint: CheckpointChoice | None = None
    labels: LabelCurve | None = None
    source: SourceChoice | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: Any) -> Any:
        return {k: {} if v is None else v for k, v in value.items()} if isinstance(value, dict) else value

    def named(self) -> dict[str, Measured]:
        """Give the options of the decisions that are named."""
        return {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name) is not None}
