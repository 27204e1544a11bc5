"""What does a plane of 7 x 7 points of ResNet-18 cost beside the bare forward passes, and does refinement draw it well?

Evaluation mode, the same batches for all, BatchNorm not refitted on any side, peers without gradients. Ours measures
all 49 points and the three corners, peers 49 points: seconds are per point measured, of the whole job. The floor is a
forward pass over the batches in the layout that they have.

The last row refines a grid of 17 x 17 in the plane through three fine-tunes, with BatchNorm refitted at every point:
its contour against the contour of all 289 points. "Apart" is the largest distance from a point of either contour to
the other, as a share of the side of the picture.
"""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import torch
from line import mean_loss, tensor_loss
from networks import CLASSES, Batch, bare_forwards, images, random_weights, trained
from race import Entry, Row, Timed, absent, against_floor, alone, faster, race

import bequest
from bequest.evaluation.contours import contour

POINTS, SIDE, COUNT = 7, 64, 32
FINE = 17
JOB, FLOOR = "plane, 7 x 7 points, ResNet-18", "a bare forward pass"
WHAT = f"{COUNT} images of {SIDE} px, per point"


def measure(quick: bool) -> list[Row]:
    batches = images(COUNT, SIDE, batch=64, seed=0)
    corners = {name: random_weights("resnet18", SIDE, seed=seed) for seed, name in enumerate("abc")}
    models = [bequest.open_model("resnet18", classes=CLASSES, weights=one).eval() for one in corners.values()]
    model = bequest.open_model("resnet18", classes=CLASSES, weights=corners["a"]).eval()
    entries = [
        Entry("floor", lambda: bare_forwards(model, batches, POINTS**2)),
        Entry("ours", lambda: bequest.plane(model, corners, batches, points=POINTS, budget=1)),
    ]
    missing = []
    for name, open_peer in PEERS.items():
        try:
            entries.append(Entry(name, open_peer(models, batches), most=2))
        except Exception as error:  # an import may raise anything; it is reported
            missing.append(absent(JOB, WHAT, name, error))
    timed = race(entries, rounds=1 if quick else 2, warm=0)
    timed = {name: per_point(one, POINTS**2 + 3 * (name == "ours")) for name, one in timed.items()}
    rows = [against_floor(JOB, WHAT, timed["ours"], FLOOR, timed["floor"], most=1.1)]
    for entry in entries[2:]:
        theirs = timed[entry.name]
        note = "" if theirs.failure else f"theirs is {theirs.median / timed['floor'].median:.2f} times the floor"
        more = {"floor": FLOOR, "bare": timed["floor"], "note": note}
        rows.append(faster(JOB, WHAT, timed["ours"], entry.name, theirs, least=1, **more))
    return [*rows, *missing, refinement(quick)]


def refinement(quick: bool) -> Row:
    """Draw the plane through three fine-tunes with a third of its points, and with all."""
    side, steps = 32, 5 if quick else 20
    model = bequest.open_model("resnet18", classes=CLASSES, seed=0)
    start = trained(model, model.state_dict(), 2 * steps, side=side, seed=1, rate=0.05)
    corners = {f"fine-tune {n}": trained(model, start, steps, side=side, seed=n, rate=0.01) for n in (2, 3, 4)}
    batches, calibration = (images(64, side, batch=64, seed=seed) for seed in (0, 5))
    options = {"points": FINE, "calibration": calibration}
    entries = [
        Entry("all", lambda: bequest.plane(model, corners, batches, budget=1, **options)),
        Entry("refined", lambda: bequest.plane(model, corners, batches, **options)),
    ]
    timed = race(entries, rounds=1, warm=0)
    few, every = timed["refined"].result.rows, timed["all"].result.rows
    level = few.filter(metric="level")["value"][0]
    grid, here = surface(few)
    truth, there = surface(every)
    share = few.filter(metric="loss")["measured"].mean()
    area = abs(float((grid < level).mean() - (truth < level).mean()))
    apart = hausdorff(contour(grid, *here, level), contour(truth, *there, level)) / max(np.ptp(axis) for axis in here)
    met = bool(share <= 1 / 3 and apart <= 0.02)
    what = f"{FINE} x {FINE} points, fine-tunes, 64 images of {side} px"
    note = (
        f"{share:.0%} of the points measured; contours of loss {level:.3f} are at most {apart:.1%} of the side apart; "
        f"the area inside differs by {area:.1%} of the picture"
    )
    target = "within 2 percent, a third of the points"
    ours, all_points = timed["refined"].median, timed["all"].median
    return Row("plane, refined", what, ours, "every point", all_points, all_points / ours, target, met, note=note)


def per_point(timed: Timed, points: int) -> Timed:
    return replace(timed, seconds=tuple(seconds / points for seconds in timed.seconds))


def surface(rows) -> tuple[np.ndarray, tuple[list[float], list[float]]]:
    """Losses [rows, columns] and the axes."""
    rows = rows.filter(metric="loss").sort("y", "x")
    xs, ys = (rows[axis].unique().sort().to_list() for axis in ("x", "y"))
    return rows["value"].to_numpy().reshape(len(ys), len(xs)), (xs, ys)


def hausdorff(one, other) -> float:
    """Largest distance from a point of either contour to the other's points, pieces cut fine."""
    shares = np.linspace(0, 1, 9)
    first, second = (
        np.concatenate([np.outer(1 - shares, piece[:2]) + np.outer(shares, piece[2:]) for piece in np.array(pieces)])
        for pieces in (one, other)
    )
    apart = np.linalg.norm(first[:, None] - second[None], axis=2)
    return float(max(apart.min(0).max(), apart.min(1).max()))


def loss_landscapes(models, batches: list[Batch]):
    import loss_landscapes
    from loss_landscapes.metrics.metric import Metric

    class Loss(Metric):
        def __call__(self, wrapper):
            return mean_loss(wrapper.forward, batches)

    def run():
        with torch.no_grad():
            return loss_landscapes.planar_interpolation(*models, Loss(), steps=POINTS, deepcopy_model=True)

    return run


def landscaper(models, batches: list[Batch]):
    # Its __init__ imports topology packages that want numpy below 2; its loop over the plane needs none of them.
    found = find_spec("landscaper")
    if found is None:
        raise ModuleNotFoundError("landscaper is not installed; see requirements-bare.txt")
    package = types.ModuleType("landscaper")
    package.__path__ = list(found.submodule_search_locations or [])
    sys.modules["landscaper"] = package
    from landscaper.compute import compute_loss_landscape

    first, second, third = ([value.detach() for value in model.parameters()] for model in models)
    directions = [[end - start for start, end in zip(first, ends, strict=True)] for ends in (second, third)]

    def run():
        options = {"steps": POINTS, "distance": 0.5, "dim": 2, "device": "cpu"}
        return compute_loss_landscape(models[0], batches, directions, mean_loss, **options)

    return run


def nngeom(models, batches: list[Batch]):
    import nngeom

    first, *ends = (nngeom.Model(model, loss_fn=tensor_loss) for model in models)
    directions = [end.parameters_flat() - first.parameters_flat() for end in ends]

    def run():
        with torch.no_grad():
            return nngeom.plane_slice_2d(first, batches, steps=POINTS, directions=directions)

    return run


PEERS = {"loss-landscapes 3.0.6": loss_landscapes, "landscaper 1.3.1": landscaper, "nngeom 0.2.0": nngeom}

if __name__ == "__main__":
    alone(measure)
