"""What does a line of 11 points between two ResNet-50 cost beside the bare forward passes?

Evaluation mode, the same batches for all. BatchNorm is not refitted on any side: the peers cannot, and with it both we
and the floor would only have more forward passes. Ours is the whole of `bequest.barrier`: copies, both ends, restoring
the model, rows. Peers run without gradients, which they do not see to themselves.
"""

from __future__ import annotations

import torch
from networks import CLASSES, Batch, bare_forwards, images, random_weights
from race import Entry, Row, absent, against_floor, alone, faster, race
from torch.nn.functional import cross_entropy

import bequest

POINTS, SIDE, COUNT = 11, 64, 64
JOB, FLOOR = f"line, {POINTS} points, ResNet-50", f"{POINTS} bare forward passes"


def measure(quick: bool) -> list[Row]:
    batches = images(COUNT, SIDE, batch=64, seed=0)
    a, b = (random_weights("resnet50", SIDE, seed=seed) for seed in (1, 2))
    model, first, second = (bequest.open_model("resnet50", classes=CLASSES, weights=w).eval() for w in (a, a, b))
    entries = [
        Entry("floor", lambda: bare_forwards(model, batches, POINTS)),
        Entry("ours", lambda: bequest.barrier(model, {"a": a, "b": b}, batches, points=POINTS)),
    ]
    missing = []
    for name, open_peer in PEERS.items():
        try:
            entries.append(Entry(name, open_peer(first, second, batches), most=2))
        except Exception as error:  # an import may raise anything; it is reported
            missing.append(absent(JOB, what(), name, error))
    timed = race(entries, rounds=1 if quick else 2, warm=0)
    note = ends(timed["ours"].result, model, a, b, batches)
    rows = [against_floor(JOB, what(), timed["ours"], FLOOR, timed["floor"], most=1.05, note=note)]
    for entry in entries[2:]:
        theirs = timed[entry.name]
        note = "" if theirs.failure else f"theirs is {theirs.median / timed['floor'].median:.2f} times the floor"
        more = {"floor": FLOOR, "bare": timed["floor"], "note": note}
        rows.append(faster(JOB, what(), timed["ours"], entry.name, theirs, least=1, **more))
    return rows + missing


def what() -> str:
    return f"{COUNT} images of {SIDE} px"


def ends(found, model, a, b, batches: list[Batch]) -> str:
    """Check the ends of our line against a direct evaluation."""
    losses = []
    for weights in (a, b):
        model.load_state_dict(weights)
        with torch.inference_mode():
            losses.append(sum(float(cross_entropy(model(x), y)) for x, y in batches) / len(batches))
    curve = found.rows.filter(metric="loss_naive").sort("x")["value"]
    off = max(abs(curve[0] - losses[0]), abs(curve[-1] - losses[1]))
    return f"loss at the ends is off by {off:.0e} from a direct evaluation"


def loss_landscapes(first, second, batches):
    import loss_landscapes
    from loss_landscapes.metrics.metric import Metric

    class Loss(Metric):
        def __call__(self, wrapper):
            return mean_loss(wrapper.forward, batches)

    def run():
        with torch.no_grad():
            return loss_landscapes.linear_interpolation(first, second, Loss(), steps=POINTS, deepcopy_model=True)

    return run


def nngeom(first, second, batches):
    import nngeom

    a, b = (nngeom.Model(one, loss_fn=tensor_loss) for one in (first, second))

    def run():
        with torch.no_grad():
            return nngeom.linear_interpolation(a, b, batches, steps=POINTS)

    return run


def rebasin(first, second, batches):
    from rebasin.interpolation import LerpSimple

    def run():
        with torch.no_grad():
            lerp = LerpSimple([first, second], eval_fn=lambda model, device: mean_loss(model, batches))
            lerp.interpolate(steps=POINTS)
        return lerp.metrics_interpolated

    return run


def mean_loss(model, batches: list[Batch]) -> float:
    return sum(float(cross_entropy(model(x), y)) for x, y in batches) / len(batches)


def tensor_loss(model, batches: list[Batch]):
    return torch.stack([cross_entropy(model(x), y) for x, y in batches]).mean()


PEERS = {"loss-landscapes 3.0.6": loss_landscapes, "nngeom 0.2.0": nngeom, "rebasin 0.0.47": rebasin}

if __name__ == "__main__":
    alone(measure)
