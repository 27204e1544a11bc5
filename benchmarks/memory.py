"""How much memory do similarity and criticality of a ResNet-50 take at 224 px with batches of 64?

The peak of a fresh process, interpreter and torch included. Similarity sees one batch, as it keeps sums from batch to
batch and no features. Criticality sees two, and keeps as many as its bound on activations allows, however many there
are; its peak with two modules is that with all, as they are measured one after the other. The seconds columns are GiB.
"""

from __future__ import annotations

import sys

from race import Row, alone, peak_memory_of

MOST = 6.0
SIDE, BATCH = 224, 64
JOBS = {
    "similarity": "all modules of two networks",
    "criticality": "two modules, 1 GiB of activations at most",
    "criticality, bounded": "two modules, 64 MiB of activations at most",
    "forward": "the floor: one forward pass",
}


def measure(quick: bool) -> list[Row]:
    peaks = {job: peak_memory_of([sys.executable, __file__, "--run", job]) / 1024 for job in JOBS}
    rows = []
    for job, what in JOBS.items():
        if job == "forward":
            continue
        peak, floor = peaks[job], peaks["forward"]
        said = f"memory of {job}, ResNet-50 at {SIDE} px, batch {BATCH}"
        note = "GiB, not seconds"
        if job == "criticality, bounded":
            note += f"; {peaks['criticality'] - peak:+.2f} GiB saved by the lower bound"
        rows.append(
            Row(
                said,
                what,
                peak,
                "6 GiB",
                MOST,
                peak / MOST,
                "at most 1",
                peak <= MOST,
                floor=JOBS["forward"],
                floor_s=floor,
                above_floor=peak / floor,
                note=note,
            )
        )
    return rows


def work(job: str) -> None:
    """Do one job, to be watched from outside."""
    import torch

    import bequest
    from bequest.models.order import modules

    a, b = (bequest.open_model("resnet50", classes=10, seed=seed).eval() for seed in (0, 1))
    stream = torch.Generator().manual_seed(0)
    count = BATCH if job in {"similarity", "forward"} else 2 * BATCH
    images, targets = torch.randn(count, 3, SIDE, SIDE, generator=stream), torch.arange(count) % 10
    batches = [(images[k : k + BATCH], targets[k : k + BATCH]) for k in range(0, count, BATCH)]
    if job == "forward":
        with torch.inference_mode():
            a(images)
    elif job == "similarity":
        bequest.similarity({"a": a, "b": b}, batches)
    else:
        units = [unit for unit in modules(a, images[:2]) if unit.name in {"layer1.0", "layer4.2"}]
        bound = 2**26 if "bounded" in job else 2**30
        weights = [model.state_dict() for model in (a, b)]
        bequest.criticality(a, *weights, batches, modules=units, draws=1, cache_bytes=bound)


if __name__ == "__main__":
    if "--run" in sys.argv:
        work(sys.argv[sys.argv.index("--run") + 1])
    else:
        alone(measure)
