"""What does one of several processes see of a batch?

What one process alone would see of those images: all draw the numbers of the whole batch from the same generators, and
each prepares its own images with those that mixup mixes into them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bequest.data.augment import augment, draw_mix, shares_of_classes
from bequest.data.batches import Normalise, Stored, normalised
from bequest.training.recipe import Recipe


def part_of_batch(
    images: Tensor | Stored,
    chosen: Tensor,
    goal: Tensor,
    part: slice,
    *,
    recipe: Recipe,
    classes: int,
    normalise: Normalise,
    streams: Mapping[str, torch.Generator],
    see: Callable[[Tensor, Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Prepare a part of a batch.

    Args:
        images: uint8 [N, 3, H, W].
        chosen: numbers of the images of the whole batch, int64 [n].
        goal: their targets.
        part: which of them this process sees.
        recipe: augmentation and mixup.
        classes: number of classes.
        normalise: mean and standard deviation.
        streams: the generators `augmentation` and `mixup`; they are left as after the whole batch.
        see: see `training.loop.train`.

    Returns:
        Images float32 [m, 3, H, W] of the part, and the targets of the whole batch, mixed where images are.
    """
    count = len(chosen)
    places = own = torch.arange(count)[part]
    share = 1.0
    if recipe.mixup > 0:
        share, partners = draw_mix(count, alpha=recipe.mixup, generator=streams["mixup"])
        places = torch.cat([own, partners[own]])
        certain = shares_of_classes(goal, classes)
        goal = certain * share + certain[partners.to(goal.device)] * (1 - share)
    taken = chosen[places.to(chosen.device)]
    seen = normalised(images[taken].to(goal.device), normalise)
    seen = augment(seen, kind=recipe.augmentation, generator=streams["augmentation"], places=places, of=count)
    seen = seen if see is None else see(seen, taken)
    if recipe.mixup > 0:
        seen = seen[: len(own)] * share + seen[len(own) :] * (1 - share)
    return seen, goal
