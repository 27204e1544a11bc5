"""Which decisions can a study file ask for, and with which options?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bequest.study.options import Measured, Part, refuse_twice
from bequest.training.recipe import Recipe


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
    """Which decisions to make; each runs what it recommends. None if left out."""

    soup: Soup | None = None
    freeze: Freeze | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: Any) -> Any:
        return {k: {} if v is None else v for k, v in value.items()} if isinstance(value, dict) else value

    def check(self, targets: Sequence[str], given: int, source: bool, replicas: int) -> None:
        """Refuse decisions that a study cannot make.

        Args:
            targets: of the study.
            given: how many files of weights are compared; 0 for a study that trains.
            source: whether it is known where the weights started.
            replicas: of the arms.

        Raises:
            ValueError: names the decision and the way out.
        """
        for name, options in self.named().items():
            for target in options.targets:
                if target not in targets:
                    raise ValueError(f"decisions.{name}.targets has {target}; the targets are {', '.join(targets)}")
        if self.freeze is not None and given:
            raise ValueError("decisions.freeze trains, and beside `given` weights nothing is trained; leave it out")
        if self.freeze is not None and self.freeze.replicas > replicas:
            raise ValueError(
                f"decisions.freeze.replicas is {self.freeze.replicas}, but arms.replicas is {replicas}; lower the one "
                "or raise the other"
            )
        if self.soup is not None and given == 1 and not source:
            raise ValueError("decisions.soup needs two files of weights, or one and the weights that it started from")

    def named(self) -> dict[str, Measured]:
        """Give the options of the decisions that are named."""
        return {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name) is not None}
