"""How are the images of a batch varied while training?

All images of a batch at once and on their device: one affine grid and one bilinear sampling, whatever the kinds. The
random numbers come from one generator, the same number for a batch of a given size and kind, so that the order of the
data and the state of the generator alone decide what a model sees. Outside of an image its border goes on.
`mixup` mixes a batch with a shuffled copy of itself (Zhang et al. 2018, arXiv:1710.09412, section 2), with one share
for the whole batch, as the code of Neyshabur et al. 2020 (arXiv:2008.11687) does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, one_hot

from bequest.data.kinds import check_kind

SCALE = (0.5, 1.0)  # chosen: emoji fill their canvas, a crop of a tenth as for photographs shows no object
RATIO = (3 / 4, 4 / 3)  # of a crop, as in Szegedy et al. 2015 (arXiv:1409.4842, section 6)
DEGREES = 15.0  # chosen
DRAWS = 6  # random numbers an image: area, ratio, two of place, flip, angle


def augment(
    images: Tensor,
    *,
    kind: str,
    generator: torch.Generator,
    scale: tuple[float, float] = SCALE,
    degrees: float = DEGREES,
    places: Tensor | None = None,
    of: int = 0,
) -> Tensor:
    """Vary the images of a batch.

    Args:
        images: uint8, or float in any scale, [n, channels, height, width].
        kind: "none", or one or more of "crop", "flip" and "rotate" joined with "+", as "crop+flip".
        generator: gives the random numbers, on its own device; "none" takes none.
        scale: least and greatest share of the area that "crop" keeps, above 0 and up to 1.
        degrees: "rotate" turns by up to this angle either way.
        places: where the images are a part of a batch, int64 [n], their places in it: they vary as they would in it.
        of: images in that batch.

    Returns:
        Float images of the same shape and memory format; uint8 came out as float32 in 0..1.

    Raises:
        ValueError: if a kind is unknown (the nearest is named), or scale is out of range.
    """
    kinds = check_kind(kind)
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"the scale of a crop has to be two shares above 0 and up to 1, ascending, not {scale}")
    floats = images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images
    if kinds == ("none",):
        return floats
    n, _, height, width = images.shape
    draws = torch.rand(n if places is None else of, DRAWS, generator=generator, device=generator.device)
    draws = (draws if places is None else draws[places.to(draws.device)]).to(images.device)
    area, ratio, right, down, mirrored, turn = draws.unbind(1)
    wide, high = torch.ones_like(area), torch.ones_like(area)
    if "crop" in kinds:
        kept = scale[0] + (scale[1] - scale[0]) * area
        stretch = torch.exp(math.log(RATIO[0]) + (math.log(RATIO[1]) - math.log(RATIO[0])) * ratio)
        wide, high = (kept * stretch).sqrt().clamp(max=1), (kept / stretch).sqrt().clamp(max=1)
    sign = torch.where(mirrored < 0.5, -1.0, 1.0) if "flip" in kinds else torch.ones_like(area)
    angle = (2 * turn - 1) * math.radians(degrees) if "rotate" in kinds else torch.zeros_like(area)
    # From a place in the output to one in the input: mirror, turn (in pixels, hence the ratio of the sides), crop.
    cosine, sine, sides = angle.cos(), angle.sin(), height / width
    across = torch.stack([wide * cosine * sign, -wide * sine * sides, (1 - wide) * (2 * right - 1)], 1)
    along = torch.stack([high * sine / sides * sign, high * cosine, (1 - high) * (2 * down - 1)], 1)
    grid = affine_grid(torch.stack([across, along], 1).to(floats.dtype), list(images.shape), align_corners=False)
    varied = grid_sample(floats, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if images.is_contiguous(memory_format=torch.channels_last):
        return varied.contiguous(memory_format=torch.channels_last)
    return varied


def mixup(
    images: Tensor, targets: Tensor, *, alpha: float, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each image with another of its batch, and their classes alike.

    Args:
        images: float [n, channels, height, width].
        targets: int64 [n], classes; or float [n, classes], labels, of which one that is missing (NaN) stays missing.
        alpha: the share is drawn from Beta(alpha, alpha), once a batch; 0 mixes nothing.
        classes: number of classes.
        generator: gives the share and the partners.

    Returns:
        Mixed images of the same shape, and soft targets float32 [n, classes], of classes each summing to 1.

    Raises:
        ValueError: if alpha is negative or not finite.
    """
    certain = shares_of_classes(targets, classes)
    share, partners = draw_mix(len(images), alpha=alpha, generator=generator)
    if alpha == 0:
        return images, certain
    partners = partners.to(images.device)
    mixed = images * share + images[partners] * (1 - share)
    return mixed, certain * share + certain[partners] * (1 - share)


def draw_mix(count: int, *, alpha: float, generator: torch.Generator) -> tuple[float, Tensor]:
    """Draw how a batch is mixed.

    Args:
        count: images in it.
        alpha: see `mixup`.
        generator: gives the share and the partners; for an alpha of 0 nothing is taken from it.

    Returns:
        The share that an image keeps, 0..1, and the number of the image that it is mixed with, int64 [count], on the
        generator's device.

    Raises:
        ValueError: if alpha is negative or not finite.
    """
    if not 0 <= alpha < math.inf:
        raise ValueError(f"mixup's alpha has to be 0 or more, not {alpha}")
    if alpha == 0:
        return 1.0, torch.arange(count)
    shape = torch.full((2,), alpha, dtype=torch.float64, device=generator.device)
    first, second = torch._standard_gamma(shape, generator=generator).tolist()
    # For a tiny alpha both can underflow; Beta is then a fair coin.
    share = first / (first + second) if first + second > 0 else 1.0
    return share, torch.randperm(count, generator=generator, device=generator.device)


def shares_of_classes(targets: Tensor, classes: int) -> Tensor:
    """Give targets as mixup makes them: classes int64 [n] as float32 [n, classes]; labels stay as they are."""
    return targets if targets.is_floating_point() else one_hot(targets, classes).to(torch.float32)
