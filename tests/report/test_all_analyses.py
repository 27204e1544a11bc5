"""Does a page with every analysis and all control arms fit its boxes, and judge the claims as without them?"""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from bequest.analyses.barrier import barrier
from bequest.analyses.basin import basin
from bequest.analyses.block_shuffle import block_shuffle
from bequest.analyses.checkpoints import checkpoints
from bequest.analyses.connectivity import connect
from bequest.analyses.criticality import criticality
from bequest.analyses.distance import distances
from bequest.analyses.learning_curves import learning_curves
from bequest.analyses.matching import matching
from bequest.analyses.mistakes import mistakes
from bequest.analyses.pairs import CONTROLS, arm, repeats_init, same_init
from bequest.analyses.plane import plane
from bequest.analyses.result import Result
from bequest.analyses.similarity import similarity
from bequest.analyses.spectrum import spectrum
from bequest.analyses.valley import valley
from bequest.evaluation.predict import predict
from bequest.report.contents import Picture
from bequest.report.page import write_report
from bequest.report.verdicts import slots
from bequest.weights.inits import meanvar, shuffled

ARMS = ("finetune", "randinit", *CONTROLS)
EXPERIMENTS = ("learning_curves", "block_shuffle", "checkpoints")
COMPARED = ("mistakes", "similarity", "distance", "barrier")
NAMES = [f"{arm}/{replica}" for arm in ARMS for replica in range(3)]
NAMES.insert(6, "randinit/0b")
HEAD = "6"


def network():
    layers = [nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 4)]
    return nn.Sequential(*layers)


def rings(seed, count=64, turn=0.0):
    """Four classes: inside or outside of a circle, left or right of a line."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(3 * count, 2, generator=generator)
    angle = torch.atan2(points[:, 1], points[:, 0]) + turn
    targets = 2 * (points.norm(dim=1) > 1.18).long() + (angle.sin() > 0).long()
    return [(points[k::3], targets[k::3]) for k in range(3)]


TRAIN, TEST = rings(0, turn=0.3), rings(1, turn=0.3)


def fresh(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return copy.deepcopy(network().state_dict())


def trained(start, batches, order, *, steps=60, rate=1e-2, head_only=False):
    """Weights at the start, halfway and at the end."""
    model = network()
    model.load_state_dict(start)
    parameters = [p for name, p in model.named_parameters() if not head_only or name.startswith(HEAD)]
    optimiser = torch.optim.Adam(parameters, lr=rate)
    seen = [copy.deepcopy(model.state_dict())]
    for step in range(steps):
        points, targets = batches[(step + order) % 3]
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(points), targets).backward()
        optimiser.step()
        if step in (steps // 2, steps - 1):
            seen.append(copy.deepcopy(model.state_dict()))
    return seen


@pytest.fixture(scope="module")
def runs():
    """Real runs of all arms, and P."""
    source = trained(fresh(99), rings(2), 0, steps=200)[-1]
    found = {}
    for place, name in enumerate(NAMES):
        start = fresh(int(name.split("/")[1][0]) if name.startswith("randinit") else 10 + place)
        if not name.startswith("randinit"):
            draw = torch.Generator().manual_seed(place)
            made = {"meanvar": meanvar, "shuffled": shuffled}.get(arm(name))
            body = made(source, generator=draw) if made else source
            start = {key: start[key] if key.startswith(HEAD) else body[key] for key in start}
        found[name] = trained(start, TRAIN, place, head_only=name.startswith("probe"))
    return source, found


def compared(runs, names):
    """The rows of the analyses that compare runs with each other."""
    source, found = runs
    model = network().eval()
    last = {name: found[name][-1] for name in names}
    starts = {name: found[name][0] for name in names}
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if arm(a) == arm(b)]
    pairs = [(a, b) for a, b in pairs if same_init(a, b) or not (repeats_init(a) or repeats_init(b))] + [
        ("finetune/0", "randinit/0")
    ]
    answers = {name: predict(model, TEST, weights=weights) for name, weights in last.items()}
    fitted = {name: predict(model, TRAIN, weights=weights) for name, weights in last.items()}
    errors = {name: float((one.outputs.argmax(1) != one.targets).double().mean()) for name, one in fitted.items()}
    told = {"errors": errors, "chance": 0.25}
    near = [distances({"P": {**source, **_head(starts[name])}, name: last[name]}).rows for name in names]
    pretrained = {**source, **_head(starts["finetune/0"])}
    return _joined(
        {
            "mistakes": [mistakes(answers).rows],
            "similarity": [similarity(model, TEST, weights={**last, "P": pretrained}, **told).rows],
            "distance": [distances(last, initial=starts, **told).rows, *near],
            "barrier": [barrier(model, last, {"train": TRAIN, "test": TEST}, pairs=pairs, points=7).rows],
        }
    )


def looked_into(runs):
    """The rows of the analyses that look at the landscape around runs, and into networks."""
    source, found = runs
    model, batches, few = network().eval(), {"train": TRAIN, "test": TEST}, {"points": 7}
    last = {which: {f"{which}/{i}": found[f"{which}/{i}"][-1] for i in range(3)} for which in ("finetune", "randinit")}
    tuned, apart = list(last["finetune"]), list(last["randinit"])
    corners = {"P": {**source, **_head(found["finetune/0"][0])}, **{name: found[name][-1] for name in tuned[:2]}}
    ends = [found[name][-1] for name in apart[:2]]
    way = {name: (found[name][0], found[name][-1]) for name in ("finetune/0", "randinit/0")}
    return _joined(
        {
            "basin": [basin(model, members, batches, samples=4).rows for members in last.values()],
            "plane": [
                plane(model, corners, batches, trajectories={name: found[name] for name in tuned[:2]}, **few).rows,
                plane(model, last["randinit"], batches, **few).rows,
            ],
            "matching": [matching(model, last["randinit"], batches, **few).rows],
            "connectivity": [connect(model, *ends, TRAIN, batches=batches, epochs=4, names=apart[:2], **few).rows],
            "criticality": [
                criticality(model, *ends, TRAIN, draws=2, rerandomised=fresh(5), name=name, path=path).rows
                for name, ends in way.items()
                for path in ("direct", found[name][1:-1])
            ],
            "valley": [
                valley(model, *ends, TRAIN, ["0", "4"], points=3, draws=1, name=name).rows for name, ends in way.items()
            ],
            "spectrum": [
                spectrum({n: w[-1] for n, w in found.items()}, initial={n: w[0] for n, w in found.items()}, top=3).rows
            ],
        }
    )


def _joined(made):
    rows = {name: pl.concat(parts, how="diagonal_relaxed") for name, parts in made.items()}
    return {name: one.with_columns(target=pl.lit("line")) for name, one in rows.items()}


def _head(weights):
    return {key: tensor for key, tensor in weights.items() if key.startswith(HEAD)}


def course(end, rate, seed, epochs=12):
    """Metrics of a made-up run that ends near an error."""
    generator = np.random.default_rng(seed)
    errors = end + (0.9 - end) * np.exp(-rate * np.arange(epochs + 1)) + 0.01 * generator.standard_normal(epochs + 1)
    rows = [(i, split, e) for i, e in enumerate(errors.clip(0, 1)) for split in ("train", "validation")]
    rows.append((epochs, "test", min(1.0, errors[-1] + 0.02)))
    columns = [list(column) for column in zip(*rows, strict=True)]
    metrics = pl.DataFrame(dict(zip(("epoch", "split", "error"), columns, strict=True)))
    return SimpleNamespace(metrics=metrics.with_columns(loss=2 * pl.col("error")))


ENDS = {"finetune": (0.2, 0.5), "randinit": (0.35, 0.2), "meanvar": (0.33, 0.24), "shuffled": (0.33, 0.26)}
ENDS["probe"] = (0.45, 0.6)


def trained_curves(names, penalty=0.0):
    return {
        name: course(min(0.9, ENDS[arm(name)][0] + penalty), ENDS[arm(name)][1], seed)
        for seed, name in enumerate(NAMES)
        if name in names
    }


def experiments(names, sizes=("pixel-channel", 1, 2, 4, 7, 8, 14, 16, 28, 32, 56, 112, 224)):
    """The rows of learning curves, block shuffle and checkpoints; block shuffle in both modes."""
    plain = [name for name in names if not name.endswith("b")]
    shuffled_runs = {size: trained_curves(plain, 0.05 * (len(sizes) - 1 - place)) for place, size in enumerate(sizes)}
    modes = [
        block_shuffle(shuffled_runs, size=224, chance=0.02, moved=dict.fromkeys(sizes[:-1], 0.9), permutation=mode).rows
        for mode in ("fixed", "per_image")
    ]
    tuned = [name for name in names if arm(name) == "finetune"]
    by_epoch = {epoch: trained_curves(tuned, 0.3 / (1 + epoch)) for epoch in (0, 1, 2, 4, 8, 16)}
    rates = {which: [0.01, 0.1, 1.0] for which in ENDS}
    made = {
        "learning_curves": learning_curves(
            trained_curves(names), chance=0.1, tried=rates, chosen=dict.fromkeys(rates, 0.1)
        ).rows,
        "block_shuffle": pl.concat(modes),
        "checkpoints": checkpoints(by_epoch, source=course(0.1, 0.6, 77, 16), chance=0.1, tolerance=0.01).rows,
    }
    return {name: rows.with_columns(target=pl.lit("line")) for name, rows in made.items()}


@pytest.fixture(scope="module")
def results(runs):
    return experiments(NAMES) | compared(runs, NAMES) | looked_into(runs)


@pytest.fixture(scope="module")
def page(report_maker, results, tmp_path_factory):
    generator = np.random.default_rng(0)
    strips = tuple(
        Picture(f"line, {mode}", words, generator.integers(0, 255, (32, 32, 3), np.uint8))
        for mode in ("fixed", "per image")
        for words in ("pixels with colours", *(f"blocks of {size}" for size in (1, 2, 4, 8, 16)), "no shuffle")
    )
    report = replace(report_maker(targets=("line",)), results=results, shuffled=strips)
    return write_report(report, tmp_path_factory.mktemp("full") / "report.html")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_every_chart_fits_its_box(browser, page, width, scheme):
    assert browser.open(page, width=width, scheme=scheme) == []
    assert browser.evaluate("document.querySelectorAll('.problem').length") == 0
    drawn = browser.evaluate("document.querySelectorAll('.chart svg.marks').length")
    assert drawn == browser.evaluate("document.querySelectorAll('.chart').length") >= 20
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    too_wide = "[...document.querySelectorAll('.chart')].filter(c => c.scrollWidth > c.clientWidth + 1).map(c => c.id)"
    assert browser.evaluate(too_wide) == []
    cut = "[...document.querySelectorAll('.chart')].filter(c => [...c.querySelectorAll('.role-legend text')].some("
    cut += "t => t.getBoundingClientRect().right > c.getBoundingClientRect().right + 1)).map(c => c.id)"
    assert browser.evaluate(cut) == []
    legends = "document.querySelectorAll('#chart-{}-0 .role-legend-label text').length"
    counts = {name: browser.evaluate(legends.format(name)) for name in ("mistakes", "distance", "barrier")}
    assert counts == {"mistakes": 8, "distance": 12, "barrier": 7}
    assert browser.evaluate("document.querySelectorAll('.strip img').length") == 14
    beside = "new Set([...document.querySelectorAll('#chart-block_shuffle-0 .role-axis-title text')]"
    beside += (
        ".filter(t => t.textContent.startsWith('block size')).map(t => Math.round(t.getBoundingClientRect().y))).size"
    )
    assert browser.evaluate(beside) == (1 if width > 1000 else 2)  # panes side by side, or below each other


def test_control_arms_change_no_verdict_on_the_two_arms(runs, results):
    """Their numbers stand beside those of finetune and randinit, and move none of them; C3 is about them."""
    plain = [name for name in NAMES if arm(name) not in CONTROLS]
    alone = {slot.claim: slot for slot in slots(experiments(plain) | compared(runs, plain))}
    told = {slot.claim: slot for slot in slots({name: results[name] for name in [*EXPERIMENTS, *COMPARED]})}
    for claim in ("C1", "C2", "C4", "C5", "C6", "C7", "C8", "C10"):
        for one, other in zip(alone[claim].parts, told[claim].parts, strict=True):
            assert (one.status, one.n, one.low, one.high) == (other.status, other.n, other.low, other.high), claim
            assert other.sentence.startswith(one.sentence.rstrip(".")), claim
        assert alone[claim].word == told[claim].word and alone[claim].parts


def test_the_gain_is_split_by_the_control_arms(results):
    sentence = Result("learning_curves", results["learning_curves"]).verdict[0].sentence
    rows = results["learning_curves"].filter(metric="error_difference", split="test")
    for words, a, b in (
        ("the scale of P's weights alone changes it by {} with meanvar", "meanvar", "randinit"),
        ("features on top of that by {} over meanvar", "finetune", "meanvar"),
        ("P's features frozen under a new head by {} with probe", "probe", "randinit"),
    ):
        row = rows.filter(a=a, b=b).row(0, named=True)
        number = f"{100 * row['value']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
        assert words.format(number) in sentence
