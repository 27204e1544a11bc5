"""How fast are two ResNet-50 brought into one order of channels, and does the network stay what it was?

Both start from the identity and leave a permuted copy; the objective is the inner product of all parameters, in
float64. The output is compared in evaluation mode, with running statistics that were collected on images. Ours includes
following the network to find its permutations, as theirs does.
"""

from __future__ import annotations

import copy

import torch
from networks import CLASSES, images, random_weights
from race import Entry, Row, absent, alone, faster, race

import bequest

SIDE = 64
JOB, WHAT, PEER = "weight matching", "two ResNet-50", "rebasin 0.0.47"


def measure(quick: bool) -> list[Row]:
    a, b = (random_weights("resnet50", SIDE, seed=seed) for seed in (1, 2))
    model, first, second = (bequest.open_model("resnet50", classes=CLASSES, weights=w).eval() for w in (a, a, b))
    example = images(16, SIDE, batch=16, seed=0)[0][0]
    try:
        from rebasin import PermutationCoordinateDescent
    except Exception as error:  # an import may raise anything; it is reported
        return [absent(JOB, WHAT, PEER, error)]

    def theirs():
        # only copied and seeded, which is no work
        torch.manual_seed(0)
        permuted = copy.deepcopy(second)
        PermutationCoordinateDescent(first, permuted, example[:1]).rebasin()
        return permuted.state_dict()

    entries = [
        Entry("ours", lambda: bequest.match(model, a, b, example=example[:1])),
        Entry(PEER, theirs, most=1 if quick else 2),
    ]
    timed = race(entries, rounds=1 if quick else 5)
    before = answer(model, b, example)
    notes = []
    for name, one in timed.items():
        if one.failure:
            continue
        moved = float((answer(model, one.result, example) - before).abs().max())
        gained = objective(model, a, one.result)
        notes.append(f"{name}: objective {gained:.1f}, output moved by {moved:.1e} of {float(before.abs().max()):.2f}")
    if not timed[PEER].failure:
        ours, its = (objective(model, a, timed[name].result) for name in ("ours", PEER))
        notes.append(f"objective before {objective(model, a, b):.1f}; ours is {'no worse' if ours >= its else 'WORSE'}")
    return [faster(JOB, WHAT, timed["ours"], PEER, timed[PEER], least=8, note="; ".join(notes))]


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
    alone(measure)
