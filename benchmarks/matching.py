"""How fast are two ResNet-50 brought into one order of channels, and does the network stay what it was?

Both start from the identity and leave a permuted copy, and both follow the network to find its permutations. Ours goes
on until no group gains. The objective is the inner product of all parameters, in float64. Outputs are compared in
evaluation mode, with running statistics that were collected on images, in float32 and in float64: what is left in
float32 only is the rounding of sums in another order. Two pairs: weights as they are drawn, and with scales and shifts
of BatchNorm that differ, as in trained networks, which makes the assignments harder. "First pass" is ours when every
group has been visited once.
"""

from __future__ import annotations

import copy

import torch
from networks import CLASSES, images, random_weights
from race import Entry, Row, absent, alone, faster, race

import bequest
from bequest.evaluation.matching import assignment
from bequest.models.symmetry import symmetry_of
from bequest.weights.matching import weight_matching
from bequest.weights.symmetry import permute

SIDE, LEAST = 64, 8
JOB, PEER = "weight matching", "rebasin 0.0.47"


def measure(quick: bool) -> list[Row]:
    rows = pair(quick, False, "two ResNet-50 as drawn")
    return rows if quick else rows + pair(quick, True, "two ResNet-50, scales and shifts varied")


def pair(quick: bool, varied: bool, what: str) -> list[Row]:
    a, b = (random_weights("resnet50", SIDE, seed=seed, varied=varied) for seed in (1, 2))
    model, first, second = (bequest.open_model("resnet50", classes=CLASSES, weights=w).eval() for w in (a, a, b))
    example = images(16, SIDE, batch=16, seed=0)[0][0]
    try:
        from rebasin import PermutationCoordinateDescent
    except Exception as error:  # an import may raise anything; it is reported
        return [absent(JOB, what, PEER, error)]

    def theirs():
        torch.manual_seed(0)
        permuted = copy.deepcopy(second)
        PermutationCoordinateDescent(first, permuted, example[:1]).rebasin()
        return permuted.state_dict()

    def once():
        symmetry, generator = symmetry_of(model, example[:1]), torch.Generator().manual_seed(0)
        options = {"assign": assignment, "generator": generator, "max_iterations": 1}
        return permute(b, symmetry, weight_matching(symmetry, a, b, **options))

    entries = [
        Entry("ours", lambda: bequest.match(model, a, b, example=example[:1])),
        Entry("first pass", once),
        Entry(PEER, theirs, most=1),
    ]
    timed = race(entries, rounds=1 if quick else 2, warm=0)
    rows = []
    its = None if timed[PEER].failure else objective(model, a, timed[PEER].result)
    for name in ("ours", "first pass"):
        gained = objective(model, a, timed[name].result)
        note = f"objective {objective(model, a, b):.1f}, after ours {gained:.1f}; output moved by "
        note += moved(model, b, timed[name].result, example)
        if its is not None:
            note += f". After theirs {its:.1f} ({'ours is no worse' if gained >= its else 'OURS IS WORSE'}), output "
            note += f"moved by {moved(model, b, timed[PEER].result, example)}"
        job = JOB if name == "ours" else f"{JOB}, first pass"
        rows.append(faster(job, what, timed[name], PEER, timed[PEER], least=LEAST, note=note))
    return rows


def moved(model, before, after, example) -> str:
    """How far the outputs move, beside their largest."""
    said = []
    for kind in (torch.float32, torch.float64):
        twin = copy.deepcopy(model).to(kind)
        one, other = (answer(twin, weights, example.to(kind)) for weights in (before, after))
        said.append(f"{float((one - other).abs().max() / one.abs().max()):.0e} in {str(kind).removeprefix('torch.')}")
    return " and ".join(said) + " of the largest"


def answer(model, weights, example):
    """Outputs in evaluation mode."""
    model.load_state_dict(weights)
    with torch.inference_mode():
        return model(example)


def objective(model, a, b) -> float:
    """Inner product over all parameters."""
    names = [name for name, _ in model.named_parameters()]
    return sum(float(torch.dot(a[name].double().flatten(), b[name].double().flatten())) for name in names)


if __name__ == "__main__":
    alone(measure, keep_memory=False)
