"""What does the criticality of all modules cost beside the plain grid, and rewinding beside naive forward passes?

The twin is written plainly, as Meta-Dataset's grid: 11 positions x 11 sigmas x 10 draws, weights put together and a
full forward pass over all examples for each. For a ResNet-18 that takes hours; so random cells of it are timed and
multiplied. Ours takes half an hour there; so the module in the middle is searched, after which half of the network's
multiplications are left, as on average over all modules. On a small network the whole of it runs, and mu is compared:
ours may be lower (it looks between the points of the grid), and never higher by more than 2 percent.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from networks import CLASSES, Batch, bare_forwards, images, trained
from race import Entry, Row, against_floor, alone, faster, race
from torch import Tensor, nn

import bequest
from bequest.models.order import modules
from bequest.training.seeds import fold
from bequest.weights.modules import Module

SIDE, COUNT, BATCH = 64, 512, 64
DRAWS, POSITIONS = 10, [place / 10 for place in range(11)]
SIGMAS = [1e-16, *(place / 10 for place in range(1, 11))]
CELLS = 8  # of the grid of the large network, timed
Weights = dict[str, Tensor]


def measure(quick: bool) -> list[Row]:
    model, initial, final, batches = learned("resnet18", SIDE, COUNT, steps=40)
    units = modules(model, batches[0][0])
    what = f"ResNet-18, {len(units)} modules, {COUNT} images of {SIDE} px"
    some = [units[len(units) // 2]]
    grid = len(POSITIONS) * len(SIGMAS) * DRAWS * len(some)
    entries = [
        Entry("bare", lambda: bare_forwards(model, batches, 1)),
        Entry("rewinding", lambda: bequest.criticality(model, initial, final, batches, draws=0)),
        Entry("naive rewinding", lambda: rewound(model, initial, final, batches, units), most=1),
        Entry("cells", lambda: [one_cell(model, initial, final, batches, some, k) for k in range(CELLS)], most=1),
        Entry("ours", lambda: bequest.criticality(model, initial, final, batches, modules=some, draws=DRAWS), most=1),
    ]
    timed = race(entries, rounds=1 if quick else 2, warm=0)
    rewinding, naive, ours = timed["rewinding"], timed["naive rewinding"], timed["ours"]
    note = ""
    if not rewinding.failure and not naive.failure:
        passes, apart = rewinding.result.value("forwards"), compared(rewinding.result, naive.result)
        note = (
            f"{passes:.2f} forward passes by multiplications instead of {len(units) + 1}; errors differ by {apart:.1g}"
        )
    floor = f"rewinding all {len(units)} modules naively, and the final model"
    rows = [against_floor("rewinding all modules", what, rewinding, floor, naive, most=0.55, note=note)]
    cells = replace(timed["cells"], seconds=tuple(grid / CELLS * taken for taken in timed["cells"].seconds))
    note = f"{CELLS} random cells of {grid} forward passes timed and multiplied"
    if not ours.failure:
        found = ours.result.select("mu")["value"].to_list()
        note += f"; ours took {ours.result.value('forwards'):.1f}; mu from {min(found):.3g} to {max(found):.3g}"
    more = {"floor": "one bare forward pass", "bare": timed["bare"], "note": note}
    searched = f"ResNet-18, {some[0].name}, the middle one, {COUNT} images of {SIDE} px"
    rows.append(faster("criticality of a module", searched, ours, "the full grid", cells, least=10, **more))
    return [*rows, small()]


def small() -> Row:
    """Run the whole grid on a small network, and compare mu."""
    model, initial, final, batches = learned("resnet8", 24, 64, steps=60)
    units = modules(model, batches[0][0])
    entries = [
        Entry("grid", lambda: swept(model, initial, final, batches, units)),
        Entry("ours", lambda: bequest.criticality(model, initial, final, batches, draws=DRAWS), most=1),
    ]
    timed = race(entries, rounds=1, warm=0)
    what = f"ResNet-8, {len(units)} modules, 64 images of 24 px: the whole grid"
    job, grid, ours = "criticality of all modules", timed["grid"], timed["ours"]
    row = faster(job, what, ours, "the full grid", grid, least=10)
    if grid.failure or ours.failure:
        return row
    mine = {unit.name: ours.result.value("mu", module=unit.name) for unit in units}
    above = max(mine[name] / mu if mu else math.inf * mine[name] for name, mu in grid.result.items() if mu < math.inf)
    said = ", ".join(f"{name} {mine[name]:.3g} ({mu:.3g})" for name, mu in grid.result.items())
    note = f"mu at most {above:.3f} times the grid's (allowed: 1.02): {said}"
    return replace(row, met=row.met and above <= 1.02, note=note)


def learned(name: str, side: int, count: int, steps: int) -> tuple[nn.Module, Weights, Weights, list[Batch]]:
    """Give a network in evaluation mode, its weights at random and after a little training, and images."""
    model = bequest.open_model(name, classes=CLASSES, seed=0)
    initial = {key: value.clone() for key, value in model.state_dict().items()}
    final = trained(model, initial, steps, side=side, seed=0, rate=0.05)
    return model, initial, final, images(count, side, batch=BATCH, seed=1)


def rewound(model: nn.Module, initial: Weights, final: Weights, batches: Sequence[Batch], units: Sequence[Module]):
    """The naive way: put the weights together, load them, run everything."""
    found = {}
    for unit in [None, *units]:
        names = (*unit.parameters, *unit.buffers) if unit is not None else ()
        model.load_state_dict(final | {name: initial[name] for name in names})
        found["final" if unit is None else unit.name] = error(model, batches)
    return found


def compared(result, naive: dict[str, float]) -> float:
    """Give the largest difference of an error from the naive one."""
    apart = [abs(result.value("rewind_error", module=name) - value) for name, value in naive.items() if name != "final"]
    return max(*apart, abs(result.value("final_error") - naive["final"]))


def error(model: nn.Module, batches: Sequence[Batch]) -> float:
    with torch.inference_mode():
        wrong = sum(int((model(inputs).argmax(1) != targets).sum()) for inputs, targets in batches)
    return wrong / sum(len(targets) for _, targets in batches)


def cell(
    model: nn.Module,
    initial: Weights,
    final: Weights,
    batches: Sequence[Batch],
    unit: Module,
    alpha: float,
    sigma: float,
    noise: Weights,
) -> float:
    """One draw of one cell of the grid, with a full forward pass."""
    weights = dict(final)
    for name in (*unit.parameters, *unit.buffers):
        if final[name].is_floating_point():
            weights[name] = torch.lerp(initial[name], final[name], alpha)
        if name in noise:
            weights[name] = weights[name] + sigma * noise[name]
    model.load_state_dict(weights)
    return error(model, batches)


def drawn(final: Weights, unit: Module, draw: int) -> Weights:
    generator = torch.Generator().manual_seed(fold(0, unit.name, draw))
    return {name: torch.randn(final[name].shape, generator=generator) for name in unit.parameters}


def one_cell(model: nn.Module, initial: Weights, final: Weights, batches: Sequence[Batch], units, number: int) -> float:
    """A random cell, the same for the same number."""
    chance = random.Random(number)
    unit, alpha, sigma, draw = (chance.choice(some) for some in (units, POSITIONS, SIGMAS, range(DRAWS)))
    return cell(model, initial, final, batches, unit, alpha, sigma, drawn(final, unit, draw))


def swept(model: nn.Module, initial: Weights, final: Weights, batches: Sequence[Batch], units) -> dict[str, float]:
    """The whole grid: for each module the least alpha^2 ||move||^2 / sigma^2 whose mean error is accepted."""
    model.load_state_dict(final)
    last = error(model, batches)
    tolerance = 1.01 * last if last else 0.01
    found = {}
    for unit in units:
        noises = [drawn(final, unit, draw) for draw in range(DRAWS)]
        size = sum(float((final[name] - initial[name]).double().square().sum()) for name in unit.parameters)
        best = math.inf
        for alpha in POSITIONS:
            for sigma in SIGMAS:
                errors = [cell(model, initial, final, batches, unit, alpha, sigma, noise) for noise in noises]
                if sum(errors) / DRAWS <= tolerance:
                    best = min(best, alpha**2 * size / sigma**2)
        found[unit.name] = best
    return found


if __name__ == "__main__":
    alone(measure)
