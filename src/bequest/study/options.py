"""Which options has each analysis in a study file?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from bequest.study.plugged import Said, checked, refuse_taken
from bequest.training.recipe import Recipe

SplitName = Literal["train", "validation", "test"]


class Part(BaseModel):
    """A part of a study file: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def refuse_twice(where: str, words: Sequence[object]) -> None:
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


class Measured(Part):
    """What every analysis can be told."""

    targets: tuple[str, ...] = ()
    """Names of the targets it is made on; all of them if left out."""

    @field_validator("targets")
    @classmethod
    def _targets_once(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        refuse_twice("targets", targets)
        return targets


class LearningCurves(Measured):
    """Options of the learning curves: none."""


class BlockShuffle(Measured):
    """Options of the trainings on images with shuffled blocks."""

    sizes: tuple[int | Literal["pixel-channel"], ...] | None = Field(default=None, min_length=1)
    """Sides of the blocks in pixels; left out: all that divide the image, and `pixel-channel`."""
    modes: tuple[Literal["fixed", "per_image"], ...] = Field(default=("fixed",), min_length=1)
    """One permutation for all images of a run, as in the paper; or one for each image."""
    controls: tuple[int | Literal["pixel-channel"], ...] = (1, "pixel-channel")
    """Block sizes at which the control arms of the study are trained too, besides no shuffle."""
    recipe: Recipe | Literal["arms"] | None = None
    """How to train; left out: as the arms, without augmentation, as in the paper; `arms`: as the arms."""
    sweep: bool = False
    """Choose the learning rate again at each block size; else that of the arm without shuffle is used."""

    @field_validator("sizes", "modes", "controls")
    @classmethod
    def _each_once(cls, listed: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        refuse_twice("the list", listed or ())
        return listed


class Mistakes(Measured):
    """Options of the mistakes: none."""


class Similarity(Measured):
    """Options of the similarity of features."""

    batch_size: int = Field(default=50, ge=4, le=4096)
    """Images a batch of the unbiased estimate; at least 4."""
    split: SplitName = "test"
    """The images that are shown to the models."""


class Distance(Measured):
    """Options of the distance in parameter space: none."""


class Barrier(Measured):
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


class Basin(Measured):
    """Options of the basin: conditions (1) to (3) over all mixes of an arm's replicas."""

    samples: int = Field(default=16, ge=4, le=10_000)
    """Mixes that are drawn from the basin, and directions out of it."""
    splits: tuple[Literal["train", "test"], ...] = Field(default=("train", "test"), min_length=1)
    """Where error and loss are measured; the first one decides delta."""


class Plane(Measured):
    """Options of the planes through P and two fine-tunes, and through two random inits and their start."""

    points: int = Field(default=17, ge=3, le=257)
    """Points a side; there is something to save where points - 1 has factors of two: 9, 17, 33."""
    budget: float = Field(default=1 / 3, gt=0, le=1)
    """Largest share of the points that is measured; the others are interpolated away from the contour."""


class Connectivity(Measured):
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


class Matching(Measured):
    """Options of the barriers between random inits with their channels matched and repaired."""

    points: int = Field(default=11, ge=3, le=1001)
    """Points on each line."""
    by: Literal["weights", "activations"] = "weights"
    """What is matched."""


class Criticality(Measured):
    """Options of module criticality."""

    replicas: int = Field(default=1, ge=1, le=100)
    """Replicas of each arm that are measured; three are needed for the word `holds`."""
    draws: int = Field(default=10, ge=0, le=1000)
    """Draws of noise at each point; 0 only rewinds modules."""
    paths: tuple[Literal["direct", "checkpoints"], ...] = Field(default=("direct",), min_length=1)
    """From start to end on the straight line, or through the checkpoints of the run (`arms.checkpoint_epochs`)."""
    ends: tuple[Literal["last", "best"], ...] = Field(default=("last",), min_length=1)
    """Which weights are the end."""
    images: int | None = Field(default=128, ge=2, le=10_000_000)
    """Training images that are measured, at most; null: all."""
    tolerance: float | None = Field(default=None, ge=0, le=1)
    """Highest error that is accepted; left out: 1.01 times the final one."""
    others: int | None = Field(default=None, ge=1, le=100)
    """Replicas of control arms (on the first path to the first end alone), and of the two arms on further ones."""
    precision: float = Field(default=0.018, gt=0, le=10)
    """How exactly mu is found, relative to it."""

    @field_validator("paths", "ends")
    @classmethod
    def _each_once(cls, listed: tuple[str, ...]) -> tuple[str, ...]:
        refuse_twice("the list", listed)
        return listed


class Valley(Measured):
    """Options of the pictures of valleys: distance from the start by noise, for single modules."""

    modules: tuple[str, ...] = ()
    """Names of modules; left out: the first, the middle one and the head."""
    replicas: int = Field(default=1, ge=1, le=100)
    """Replicas of finetune and randinit that are pictured."""
    points: int = Field(default=6, ge=2, le=101)
    """Positions on the straight line."""
    draws: int = Field(default=3, ge=1, le=1000)
    """Draws of noise at each point."""
    paths: tuple[Literal["direct", "checkpoints"], ...] = Field(default=("direct",), min_length=1)
    """Along the straight line, or through the checkpoints of the run."""
    images: int | None = Field(default=128, ge=2, le=10_000_000)
    """Training images that are measured, at most; null: all."""


class Checkpoints(Measured):
    """Options of the fine-tunes from earlier checkpoints of the pre-training."""

    epochs: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Epochs of the pre-training to start from besides its last; 0 is before it. Left out: 0, 1, 2, 4, 8, …"""
    sweep: bool = False
    """Choose the learning rate again for each checkpoint; else that of finetune is used."""
    tolerance: float | None = Field(default=None, ge=0, le=1)
    """Accuracy that may be given up; left out: half the interval of the last checkpoint's."""

    @field_validator("epochs")
    @classmethod
    def _each_once(cls, epochs: tuple[int, ...] | None) -> tuple[int, ...] | None:
        refuse_twice("epochs", epochs or ())
        return epochs


class Spectrum(Measured):
    """Options of the spectra."""

    top: int = Field(default=5, ge=1, le=1000)
    """Leading directions whose overlap is measured."""


USUAL: dict[str, type[Measured]] = {  # made when a study names none: they need nothing but the runs, and little time
    "learning_curves": LearningCurves,
    "mistakes": Mistakes,
    "similarity": Similarity,
    "distance": Distance,
    "barrier": Barrier,
}


USUAL_OF_GIVEN: dict[str, type[Measured]] = {  # made of weights that are there already, when a study names none
    "mistakes": Mistakes,
    "similarity": Similarity,
    "distance": Distance,
    "barrier": Barrier,
    "basin": Basin,
    "matching": Matching,
    "criticality": Criticality,
    "spectrum": Spectrum,
}
OF_GIVEN = (*USUAL_OF_GIVEN, "plane", "connectivity", "valley")
FROM_THE_START = ("plane", "criticality", "valley")  # these need to know where the weights started
OF_ONE = ("distance", "criticality", "valley", "spectrum")  # these can be made of a single file


def usual(given: int = 0, source: bool = True) -> dict[str, type[Measured]]:
    """Give the analyses that a study makes when it names none.

    Args:
        given: how many files of weights are compared; 0 for a study that trains.
        source: whether it is known where the weights started.

    Returns:
        The kinds of their options, by name.
    """
    if not given:
        return USUAL
    possible = {name: kind for name, kind in USUAL_OF_GIVEN.items() if source or name not in FROM_THE_START}
    return {name: kind for name, kind in possible.items() if given > 1 or name in OF_ONE}


def _of_plugin(said: Any) -> Any:
    return checked(said, Measured)


class Analyses(Part):
    """Which analyses to make; one that is left out is not made, unless all are left out: then the usual five are."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, SerializeAsAny[Annotated[Measured, BeforeValidator(_of_plugin)]]] = Field(init=False)
    learning_curves: LearningCurves | None = None
    block_shuffle: BlockShuffle | None = None
    mistakes: Mistakes | None = None
    similarity: Similarity | None = None
    distance: Distance | None = None
    barrier: Barrier | None = None
    basin: Basin | None = None
    plane: Plane | None = None
    connectivity: Connectivity | None = None
    matching: Matching | None = None
    criticality: Criticality | None = None
    valley: Valley | None = None
    checkpoints: Checkpoints | None = None
    spectrum: Spectrum | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        filled = {name: {} if options is None else options for name, options in value.items()}
        refuse_taken(filled, cls.model_fields)
        return {name: said if name in cls.model_fields else Said(name, said) for name, said in filled.items()}

    def named(self) -> dict[str, Measured]:
        """Give the options of the analyses that are named, those of other packages last."""
        own = {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name) is not None}
        return own | (self.__pydantic_extra__ or {})
