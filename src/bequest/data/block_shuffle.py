"""How are the blocks of an image shuffled?

Source: Neyshabur et al. 2020, section 2.2 and figure 3, and their code (`libdata/utils.py`), whose permutations are
drawn here bit for bit: numpy's legacy `RandomState(1234 + seed).permutation(n)`, blocks numbered row by row, block j of
the result is block `permutation[j]` of the image. Inside a block nothing moves, and colours stay together; block size 1
moves single pixels. "pixel-channel" (the paper's `*`) permutes all numbers of an image, channel after channel.

One permutation serves all images of a run, for training and test alike; a permutation for each image is another, harder
experiment. The paper's code draws the identity at seed 0 with four blocks (`RandomState(1234).permutation(4)`), so that
its shuffle at block size 112 shuffled nothing: identities are drawn again here, and counted.

Whole blocks may be shuffled before or after normalising, as uint8 or float: the outcome is the same. "pixel-channel"
mixes channels, and the paper does it after normalising.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BlockSize = int | Literal["pixel-channel"]
FIRST_SEED = 1234  # of the paper's replicas 0, 1, 2: 1234, 1235, 1236
WORTH_THREADS = 1_000_000  # bytes; chosen: below, starting threads takes as long as the copy
_NUMPY = (torch.uint8, torch.float32, torch.float64)


def shuffle_blocks(
    images: Tensor,
    block_size: BlockSize,
    *,
    permutation: Tensor | Sequence[int] | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Shuffle the blocks of a batch of images. Give exactly one of `permutation`, `seed` and `generator`.

    Args:
        images: float or uint8 [B, C, H, W].
        block_size: side of a block in pixels, a divisor of H and W; or "pixel-channel".
        permutation: where each block comes from: [n] for all images, or [B, n], a row an image.
        seed: of one permutation for all images, as the paper draws it. Draw it once with `draw_permutation` and pass
            it as `permutation` where there are many batches.
        generator: gives another permutation for each image.

    Returns:
        New images of the same shape, dtype and memory format.

    Raises:
        ValueError: if the block size does not divide the sides, the permutation is none of that many blocks, or not
            exactly one of the three is given.
    """
    given = [
        name
        for name, value in (("permutation", permutation), ("seed", seed), ("generator", generator))
        if value is not None
    ]
    if len(given) != 1:
        raise ValueError(f"give one of permutation, seed and generator, not {' and '.join(given) or 'none of them'}")
    if images.dim() != 4:
        raise ValueError(f"images have to be [B, C, H, W], not {list(images.shape)}")
    n = count_blocks(images.shape, block_size)
    if permutation is not None:
        order = _checked(torch.as_tensor(permutation, dtype=torch.int64), len(images), n)
    elif seed is not None:
        order, _ = draw_permutation(n, seed)
    else:
        assert generator is not None
        order, _ = draw_permutations(len(images), n, generator=generator)
    order = order.to(images.device)
    last = not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)
    if block_size == "pixel-channel":
        mixed = _take(images.reshape(len(images), n, 1), order).view(images.shape)
        return mixed.contiguous(memory_format=torch.channels_last) if last else mixed
    batch, channels, height, width = images.shape
    across = width // block_size
    rows = _rows(order, height, across, block_size)
    if last:  # a row of a block lies together with its colours
        stored = images.permute(0, 2, 3, 1).reshape(batch, height * across, block_size * channels)
        return _take(stored, rows).view(batch, height, width, channels).permute(0, 3, 1, 2)
    stored = images.reshape(batch * channels, height * across, block_size)
    return _take(stored, rows if rows.dim() == 1 else rows.repeat_interleave(channels, 0)).view(images.shape)


def draw_permutation(n: int, seed: int) -> tuple[Tensor, int]:
    """Draw the permutation of a run as the paper's code does, again if it is the identity.

    Args:
        n: number of blocks, at least 1; a single block has nothing but the identity.
        seed: number of the replica; numpy's legacy generator starts from 1234 + seed, modulo 2**32.

    Returns:
        int64 [n], where each block comes from, and how often the identity was drawn before.
    """
    stream = np.random.RandomState((FIRST_SEED + seed) % 2**32)
    order, redrawn = stream.permutation(n), 0
    while n > 1 and (order == np.arange(n)).all():
        order, redrawn = stream.permutation(n), redrawn + 1
    return torch.from_numpy(order.astype(np.int64)), redrawn


def draw_permutations(images: int, n: int, *, generator: torch.Generator) -> tuple[Tensor, int]:
    """Draw a permutation for each image, identities again.

    Args:
        images: number of images.
        n: number of blocks, at least 1.
        generator: gives the random numbers.

    Returns:
        int64 [images, n] on the generator's device, and how many identities were drawn again.
    """

    def draw(rows: int) -> Tensor:
        keys = torch.rand(rows, n, generator=generator, dtype=torch.float64, device=generator.device)
        return keys.argsort(1)

    orders, redrawn = draw(images), 0
    still = torch.arange(n, device=orders.device)
    while n > 1 and len(unmoved := (orders == still).all(1).nonzero().flatten()):
        orders[unmoved] = draw(len(unmoved))
        redrawn += len(unmoved)
    return orders, redrawn


def moved_fraction(permutation: Tensor) -> float:
    """Give the share of blocks that are not in their own place, 0..1.

    Args:
        permutation: int64 [n] or [B, n].

    Returns:
        The share over all rows.
    """
    still = torch.arange(permutation.shape[-1], device=permutation.device)
    return float((permutation != still).double().mean())


def block_sizes(size: int) -> tuple[int, ...]:
    """Give all block sizes of an image, from single pixels to the unshuffled image.

    Args:
        size: side of the image in pixels, at least 1; for a rectangle the greatest common divisor of its sides.

    Returns:
        The divisors of `size`, ascending.
    """
    return tuple(block for block in range(1, size + 1) if size % block == 0)


def count_blocks(shape: Sequence[int], block_size: BlockSize) -> int:
    """Count the blocks of an image.

    Args:
        shape: [..., C, H, W].
        block_size: side of a block in pixels, or "pixel-channel".

    Returns:
        How many blocks a permutation is over.

    Raises:
        ValueError: if the block size is unknown or does not divide the sides; names those that do.
    """
    channels, height, width = shape[-3:]
    if block_size == "pixel-channel":
        return channels * height * width
    if not isinstance(block_size, int) or isinstance(block_size, bool):
        raise ValueError(f"a block size is a number of pixels or 'pixel-channel', not {block_size!r}")
    if block_size < 1 or height % block_size or width % block_size:
        possible = ", ".join(str(size) for size in block_sizes(math.gcd(height, width)))
        raise ValueError(
            f"blocks of {block_size} pixels do not divide an image of {height} x {width}; these do: {possible}"
        )
    return (height // block_size) * (width // block_size)


def _checked(order: Tensor, images: int, n: int) -> Tensor:
    if order.shape not in {(n,), (images, n)}:
        raise ValueError(f"a permutation of {n} blocks has the shape [{n}] or [{images}, {n}], not {list(order.shape)}")
    lines = order.view(-1, n)
    if n and (int(lines.min()) < 0 or int(lines.max()) >= n):
        raise ValueError(f"a permutation of {n} blocks holds the numbers 0 to {n - 1}, each once")
    offsets = n * torch.arange(len(lines), device=order.device)[:, None]
    if not (torch.bincount((lines + offsets).flatten(), minlength=lines.numel()) == 1).all():
        raise ValueError(f"a permutation of {n} blocks holds the numbers 0 to {n - 1}, each once")
    return order


def _rows(order: Tensor, height: int, across: int, block: int) -> Tensor:
    """From where each row of each block comes, in the order of memory: [height * across], for each line of `order`."""
    grid = order.unflatten(-1, (height // block, 1, across))
    within = torch.arange(block, device=order.device)[:, None]
    rows: Tensor = (grid // across * block + within) * across + grid % across
    return rows.flatten(-3)


def _take(stored: Tensor, rows: Tensor) -> Tensor:
    """Gather along dimension 1 of [N, R, m], by one order [R] or by one for each of N."""
    n, count, width = stored.shape
    if rows.dim() == 2:
        rows = (rows + count * torch.arange(n, device=rows.device)[:, None]).flatten()
        stored = stored.reshape(1, n * count, width)
    if stored.device.type == "cpu" and stored.dtype in _NUMPY and not stored.requires_grad:
        return torch.from_numpy(_threaded(stored.numpy(), rows.numpy()))
    return stored.index_select(1, rows)


def _threaded(stored: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Gather with numpy, which copies short rows up to four times as fast as torch's index_select on the CPU."""
    taken = np.empty((len(stored), len(rows), stored.shape[2]), dtype=stored.dtype)

    def take(share: int) -> None:
        if len(stored) > 1:  # a share of the images, else a share of the rows
            part = slice(share * len(stored) // threads, (share + 1) * len(stored) // threads)
            np.take(stored[part], rows, axis=1, out=taken[part], mode="clip")  # "raise" would copy once more
        else:
            part = slice(share * len(rows) // threads, (share + 1) * len(rows) // threads)
            np.take(stored, rows[part], axis=1, out=taken[:, part], mode="clip")

    threads = torch.get_num_threads() if taken.nbytes >= WORTH_THREADS else 1
    if threads == 1:
        take(0)
    else:
        with ThreadPoolExecutor(threads) as pool:  # numpy lets go of the lock of Python
            list(pool.map(take, range(threads)))
    return taken
