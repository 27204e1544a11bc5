"""How much faster is a batch shuffled than image by image through Unfold and Fold, as in the paper's code?

One permutation for all images, drawn before the clock starts on both sides. The twin is the paper's, in float32: Unfold
and Fold do not take uint8, so our uint8 (what training shuffles) is raced against the twin on the same images in
float32. The floor is a bare copy of the batch: no shuffle can move fewer bytes. Where even that is less than 20 times
faster than the twin, the target cannot be met, and the row says so.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from race import Entry, Row, Timed, alone, faster, race
from torch import Tensor
from torch.nn.functional import fold, unfold

import bequest
from bequest.data.block_shuffle import draw_permutation

BATCH, SIDE, LEAST = 128, 224, 20
SIZES = (112, 56, 28, 14, 7, 1)
REPEATS = 10  # of the fast ones, so that a round is long enough for the clock


def measure(quick: bool) -> list[Row]:
    floats = torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    eights = (floats * 40 + 120).clamp(0, 255).to(torch.uint8)
    layouts = {"uint8, as training has it": eights.contiguous(memory_format=torch.channels_last), "float32": floats}
    rows = []
    for size in SIZES:
        n = (SIDE // size) ** 2
        order, _ = draw_permutation(n, 0)
        entries = [Entry("twin", lambda size=size, order=order: twin(floats, size, order))]
        for name, images in layouts.items():
            entries += [
                Entry(name, repeated(lambda i=images, s=size, o=order: bequest.shuffle_blocks(i, s, permutation=o))),
                Entry(f"copy {name}", repeated(images.clone)),
            ]
        check(floats, layouts, size, order)
        timed = race(entries, rounds=1 if quick else 5)
        for name in layouts:
            ours, bare = (per_call(timed[key]) for key in (name, f"copy {name}"))
            most = timed["twin"].median / bare.median
            note = "" if most >= LEAST else f"a bare copy is only {most:.1f} times faster than the twin"
            what = f"{BATCH} images of {SIDE} px, {name}, blocks of {size}"
            more = {"least": LEAST, "floor": "a bare copy", "bare": bare, "note": note}
            rows.append(faster("block shuffle", what, ours, "Unfold/Fold twin", timed["twin"], **more))
    return rows


def twin(images: Tensor, size: int, order: Tensor) -> Tensor:
    """Shuffle as the paper's data loader does: every image on its own, then the batch is put together."""
    done = []
    for image in images:
        blocks = unfold(image[None], kernel_size=size, stride=size)
        done.append(fold(blocks[:, :, order], (SIDE, SIDE), kernel_size=size, stride=size)[0])
    return torch.stack(done)


def repeated(run):
    def times():
        for _ in range(REPEATS):
            result = run()
        return result

    return times


def per_call(timed: Timed) -> Timed:
    return replace(timed, seconds=tuple(seconds / REPEATS for seconds in timed.seconds))


def check(floats: Tensor, layouts: dict[str, Tensor], size: int, order: Tensor) -> None:
    expected = twin(floats[:4], size, order)
    assert torch.equal(bequest.shuffle_blocks(floats[:4], size, permutation=order), expected)
    for images in layouts.values():
        part = images[:4]
        assert torch.equal(
            bequest.shuffle_blocks(part, size, permutation=order).float(), twin(part.float(), size, order)
        )


if __name__ == "__main__":
    alone(measure)
