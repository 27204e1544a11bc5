"""Which options has each analysis in a study file?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SplitName = Literal["train", "validation", "test"]


class Part(BaseModel):
    """A part of a study file: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def refuse_twice(where: str, words: Sequence[str]) -> None:
    """Refuse a list that names something twice.

    Args:
        where: the key that holds it, for the message.
        words: what it names.

    Raises:
        ValueError: names the word.
    """
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"{where} names {word} twice; leave one of them out")


class LearningCurves(Part):
    """Options of the learning curves: none."""


class Mistakes(Part):
    """Options of the mistakes: none."""


class Similarity(Part):
    """Options of the similarity of features."""

    batch_size: int = Field(default=50, ge=4, le=4096)
    """Images a batch of the unbiased estimate; at least 4."""
    split: SplitName = "test"
    """The images that are shown to the models."""


class Distance(Part):
    """Options of the distance in parameter space: none."""


class Barrier(Part):
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
        refuse_twice("the list", splits)
        return splits


class Basin(Part):
    """Options of the basin: conditions (1) to (3) over all mixes of an arm's replicas."""

    samples: int = Field(default=16, ge=4, le=10_000)
    """Mixes that are drawn from the basin, and directions out of it."""


class Connectivity(Part):
    """Options of the trained path between random inits."""

    pairs: int = Field(default=1, ge=1, le=100)
    """Pairs of random inits to join; three are needed for the word `holds`."""
    kind: Literal["bezier", "chain"] = "bezier"
    """The shape of the path."""
    epochs: int = Field(default=40, ge=1, le=10_000)
    """Passes over the training images."""
    learning_rate: float = Field(default=0.1, gt=0, le=100)
    """Peak rate of the path's training."""
    points: int = Field(default=21, ge=3, le=1001)
    """Points at which the path and the straight line are measured."""


class Matching(Part):
    """Options of the barriers between random inits with their channels matched and repaired."""

    points: int = Field(default=11, ge=3, le=1001)
    """Points on each line."""
    by: Literal["weights", "activations"] = "weights"
    """What is matched."""


class Criticality(Part):
    """Options of module criticality."""

    replicas: int = Field(default=1, ge=1, le=100)
    """Replicas of each arm that are measured; three are needed for the word `holds`."""
    draws: int = Field(default=10, ge=0, le=1000)
    """Draws of noise at each point; 0 only rewinds modules."""


class Spectrum(Part):
    """Options of the spectra."""

    top: int = Field(default=5, ge=1, le=1000)
    """Leading directions whose overlap is measured."""


USUAL: dict[str, type[Part]] = {  # made when a study names none: they need nothing but the runs, and little time
    "learning_curves": LearningCurves,
    "mistakes": Mistakes,
    "similarity": Similarity,
    "distance": Distance,
    "barrier": Barrier,
}


class Analyses(Part):
    """Which analyses to make; one that is left out is not made, unless all are left out: then the usual five are."""

    learning_curves: LearningCurves | None = None
    mistakes: Mistakes | None = None
    similarity: Similarity | None = None
    distance: Distance | None = None
    barrier: Barrier | None = None
    basin: Basin | None = None
    connectivity: Connectivity | None = None
    matching: Matching | None = None
    criticality: Criticality | None = None
    spectrum: Spectrum | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: Any) -> Any:
        return {k: {} if v is None else v for k, v in value.items()} if isinstance(value, dict) else value

    def asked(self) -> dict[str, BaseModel]:
        """Give the options of the analyses to make, by name; the usual ones with their defaults if none is named."""
        named = {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name) is not None}
        return named or {name: kind() for name, kind in USUAL.items()}
