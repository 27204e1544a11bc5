"""How much memory do similarity and criticality of a ResNet-50 at 224 px with batches of 64 take?

The peak of a fresh process, Python, networks and images counted. One batch is measured. More batches change nothing in
a similarity; criticality keeps activations of all of them, up to its bound, which is added here. Nor does the peak grow
with modules and draws: two modules are searched (the one before which most is kept, and the head), with one draw.
"""

from __future__ import annotations

import sys

import torch
from networks import CLASSES, Batch, images
from race import Row, alone, peak_memory_of

import bequest
from bequest.models.order import modules

SIDE, BATCH, MOST = 224, 64, 6 * 1024  # MiB
BOUNDS = (1024,)  # MiB: the default
JOBS = ("nothing", "bare", "similarity", *(f"criticality {bound}" for bound in BOUNDS))


def measure(quick: bool) -> list[Row]:
    peaks = {name: peak_memory_of([sys.executable, __file__, "--peak", name]) for name in JOBS}
    beside = f"one bare forward pass {peaks['bare']:.0f} MiB, networks and images alone {peaks['nothing']:.0f} MiB"
    size = f"ResNet-50, batches of {BATCH} images of {SIDE} px"
    rows = [row("similarity", f"{size}, all 150 modules of two networks", peaks["similarity"], beside)]
    for bound in BOUNDS:
        found = peaks[f"criticality {bound}"]
        note = f"{found:.0f} MiB measured, and {bound} MiB for what more batches may keep; {beside}"
        rows.append(row("criticality", f"{size}, at most {bound} MiB kept", found + bound, note))
    return rows


def row(name: str, what: str, found: float, note: str) -> Row:
    share, target = found / MOST, "at most 1"
    return Row(
        f"peak memory of {name}", what, None, "6 GiB", None, share, target, share <= 1, note=f"{found:.0f} MiB; {note}"
    )


def peak(name: str) -> None:
    """Do one job; the caller measures."""
    job, _, bound = name.partition(" ")
    batches: list[Batch] = images(BATCH, SIDE, batch=BATCH, seed=0)
    a, b = (bequest.open_model("resnet50", classes=CLASSES, seed=seed).eval() for seed in (1, 2))
    if job == "bare":
        with torch.inference_mode():
            a(batches[0][0])
    elif job == "similarity":
        names = [module for module, _ in a.named_modules() if module]
        bequest.similarity({"a": a, "b": b}, batches, modules=names)
    elif job == "criticality":
        units = [unit for unit in modules(a, batches[0][0][:2]) if unit.name in ("layer1.1", "fc")]
        end = {key: value.clone() for key, value in a.state_dict().items()}
        middle = {key: (value + end[key]) / 2 for key, value in b.state_dict().items() if value.is_floating_point()}
        path = [end | middle]  # two points to look at: few tests
        options = {"draws": 1, "precision": 1.0, "objective": "loss", "cache_bytes": int(bound) * 2**20}
        bequest.criticality(a, b.state_dict(), end, batches, modules=units, path=path, **options)


if __name__ == "__main__":
    if "--peak" in sys.argv:
        peak(sys.argv[-1])
    else:
        alone(measure)
