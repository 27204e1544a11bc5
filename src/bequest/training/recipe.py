"""How is a model trained?

A recipe holds every choice of the training loop but the data, the start and the seeds. It is part of a study file, so
each field has its range, and an unknown key is an error.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bequest.data.kinds import check_kind

Milestones = Annotated[tuple[float, ...], Field(max_length=20)]


class Recipe(BaseModel):
    """Every choice of the training loop but data, start and seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    epochs: int = Field(default=40, ge=1, le=100_000)
    """Passes over the training images."""
    batch_size: int = Field(default=32, ge=2, le=65_536)
    """Images a step; the images of an epoch are cut into equal batches of at most this size."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov-free momentum, or AdamW."""
    learning_rate: float = Field(default=0.05, gt=0, le=100)
    """Peak learning rate; in a study with a sweep the sweep replaces it."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD; AdamW's first beta."""
    weight_decay: float = Field(default=1e-4, ge=0, le=10)
    """L2 penalty (SGD) or decoupled decay (AdamW), on all parameters, as in the paper."""
    scalar_factor: float = Field(default=1.0, gt=0, le=1)
    """Factor on the learning rate of parameters named bias or scale; the paper's Fixup networks use 0.1."""
    schedule: Literal["cosine", "multistep", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps in which the learning rate rises linearly from zero."""
    milestones: Milestones = (0.3, 0.6, 0.9)
    """Shares of all steps after which the multi-step schedule multiplies by `decay` (the paper: 30, 60, 90 of 100)."""
    decay: float = Field(default=0.1, gt=0, le=1)
    """Factor of the multi-step schedule."""
    augmentation: str = "none"
    """`none`, or `crop`, `flip`, `rotate` joined by `+`."""
    mixup: float = Field(default=0.0, ge=0, le=10)
    """Alpha of the Beta distribution of mixup; 0 is none. One lambda a batch, as in the paper's code."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass; weights are float32 either way."""
    evaluate_every: int = Field(default=1, ge=1, le=100_000)
    """Epochs between measurements of train and validation error; the last epoch is always measured."""
    channels_last: bool = True
    """Memory layout of images and convolutions; faster, the same numbers."""

    @field_validator("augmentation")
    @classmethod
    def _known(cls, kind: str) -> str:
        check_kind(kind)
        return kind

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)) or any(not 0 < m < 1 for m in self.milestones):
            raise ValueError(f"milestones must rise within 0..1 (shares of all steps), not {list(self.milestones)}")
        return self
