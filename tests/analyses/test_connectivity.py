import copy
from itertools import combinations

import polars as pl
import pytest
import torch
from torch import nn

from bequest.analyses.connectivity import chart, connect, verdict
from bequest.analyses.result import table
from bequest.evaluation.batchnorm import refit_batchnorm
from bequest.evaluation.predict import measure
from bequest.weights.paths import path_point


def rings(seed, count=96):
    generator = torch.Generator().manual_seed(seed)
    turn = torch.rand(count, generator=generator) * 2 * torch.pi
    targets = torch.randint(0, 2, (count,), generator=generator)
    radius = 1.0 + targets + 0.15 * torch.randn(count, generator=generator)
    inputs = torch.stack([radius * turn.cos(), radius * turn.sin()], 1)
    return [(inputs[k : k + 32], targets[k : k + 32]) for k in range(0, count, 32)]


TRAIN, TEST = rings(0), rings(1, 70)
SPLITS = {"train": TRAIN, "test": TEST}


def network(seed, *, norm=False, steps=150):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        middle = nn.BatchNorm1d(16) if norm else nn.Identity()
        model = nn.Sequential(nn.Linear(2, 16), middle, nn.ReLU(), nn.Linear(16, 2))
        optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
        for step in range(steps):
            inputs, targets = TRAIN[step % 3]
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def plain():
    return network(9), [copy.deepcopy(network(seed).state_dict()) for seed in (3, 4)]


@pytest.fixture(scope="module")
def normed():
    return network(9, norm=True), [copy.deepcopy(network(seed, norm=True).state_dict()) for seed in (3, 4)]


@pytest.mark.parametrize("kind", ["bezier", "chain"])
def test_the_path_is_low_where_the_line_has_a_barrier(plain, kind):
    model, ends = plain
    result = connect(model, *ends, TRAIN, batches=SPLITS, kind=kind, epochs=60, learning_rate=0.3, points=11)
    for split in SPLITS:
        assert result.value("max_loss", path="line", split=split) > 0.5
        assert result.value("max_loss", path=kind, split=split) < 0.15
        assert result.value("barrier_error", path="line", split=split) > 0.1
        assert result.value("barrier_error", path=kind, split=split) <= 0.02
    assert result.value("length", path=kind) > result.value("length", path="line") > 0
    assert [one.status for one in result.verdict] == ["holds under conditions"]
    assert result.chart().to_dict()["concat"]


def test_every_point_is_the_direct_evaluation_and_the_arrays_are_the_controls(plain):
    model, ends = plain
    result = connect(model, *ends, TRAIN, batches=TEST, epochs=5, bends=2, points=5, names=("finetune/0", "randinit/0"))
    controls = [ends[0], *({n: result.arrays[f"control-{k}/{n}"] for n in ends[0]} for k in (1, 2)), ends[1]]
    assert len(result.arrays) == 2 * len(ends[0])
    for path, points in (("bezier", controls), ("line", ends)):
        for t in (0.0, 0.25, 0.5, 0.75, 1.0):
            loss, error = measure(model, TEST, weights=path_point("bezier", points, t))
            assert result.value("loss", path=path, x=t) == pytest.approx(loss, abs=0 if t in (0, 1) else 1e-5)
            assert result.value("error", path=path, x=t) == pytest.approx(error, abs=1e-9)
        errors = result.select("error", path=path)["value"]
        assert result.value("max_error", path=path) == errors.max()
    row = result.select("error", path="line", x=0.5).row(0, named=True)
    assert (row["a"], row["b"], row["n"]) == ("finetune/0", "randinit/0", 70)
    assert row["low"] <= row["value"] <= row["high"]
    chord = torch.cat([(ends[0][name] - ends[1][name]).flatten() for name in ends[0]]).norm()
    assert result.value("length", path="line") == pytest.approx(float(chord), rel=1e-5)


def test_without_training_it_is_the_straight_line(plain):
    model, ends = plain
    result = connect(model, *ends, TRAIN, epochs=0, points=5)
    curves = [result.select("loss", path=path, split="train")["value"].to_list() for path in ("bezier", "line")]
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)
    assert result.value("length", path="bezier") == pytest.approx(result.value("length", path="line"))


def test_batchnorm_is_refitted_at_every_point_the_ends_included(normed):
    model, ends = normed
    result = connect(model, *ends, TRAIN, batches=SPLITS, epochs=40, learning_rate=0.3, points=5)
    control = {name: result.arrays[f"control-1/{name}"] for name in ends[0]}
    for path, points in (("bezier", [ends[0], control, ends[1]]), ("line", ends)):
        for t in (0.0, 0.5, 1.0):
            weights = refit_batchnorm(model, path_point("bezier", points, t), TRAIN)
            loss, _ = measure(model, TEST, weights=weights)
            assert result.value("loss", path=path, x=t, split="test") == pytest.approx(loss, rel=1e-4)
    assert (
        result.value("max_loss", path="bezier", split="train")
        < result.value("max_loss", path="line", split="train") / 3
    )


def test_the_model_is_left_as_it_was_and_the_seed_decides(normed):
    model, ends = copy.deepcopy(normed[0]).train(), normed[1]
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    options = {"batches": TEST, "epochs": 2, "points": 3}
    first = connect(model, *ends, TRAIN, seed=1, **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and torch.equal(state, torch.get_rng_state())
    assert connect(model, *ends, TRAIN, seed=1, **options).rows.equals(first.rows)
    assert not connect(model, *ends, TRAIN, seed=2, **options).rows.equals(first.rows)
    own = connect(model, model.state_dict(), ends[1], TRAIN, seed=1, **options)
    assert own.rows.equals(connect(model, before, ends[1], TRAIN, seed=1, **options).rows)


def test_a_loss_of_ones_own_and_bad_input(plain):
    model, ends = plain

    def doubled(outputs, targets):
        return 2 * nn.functional.cross_entropy(outputs, targets)

    result = connect(model, *ends, TRAIN, epochs=0, points=3, task=doubled)
    assert result.value("error", path="line", x=0.5) == result.value("loss", path="line", x=0.5)
    assert result.select("chance_accuracy").is_empty()
    with pytest.raises(ValueError, match="at least 3 points"):
        connect(model, *ends, TRAIN, points=2)
    with pytest.raises(ValueError, match="no path of kind 'spline'"):
        connect(model, *ends, TRAIN, kind="spline")
    with pytest.raises(ValueError, match="different networks"):
        connect(model, ends[0], {"x": torch.ones(1)}, TRAIN)


def study(path, line, *, pairs=3, splits=("train", "test"), error=0.1, path_on_test=None, target=None):
    """Rows as a study has them: one height for each path."""
    rows = []
    for a, b in list(combinations(("randinit/0", "randinit/1", "randinit/2"), 2))[:pairs]:
        for split in splits:
            row = {"target": target, "a": a, "b": b, "split": split, "n": 100}
            rows.append({**row, "metric": "chance_accuracy", "value": 0.1})
            bent = path if path_on_test is None or split == "train" else path_on_test
            for name, height in (("bezier", bent), ("line", line)):
                rows.append({**row, "path": name, "metric": "barrier_error", "value": height})
                for t in (0.0, 0.5, 1.0):
                    value = error + (height if t == 0.5 else 0)
                    rows.append({**row, "path": name, "metric": "error", "x": t, "value": value})
    return table("connectivity", rows)


@pytest.mark.parametrize(
    ("rows", "status", "words"),
    [
        (study(0.0, 0.5), "holds", "All 3 pairs"),
        (study(0.0, 0.5, pairs=1), "holds under conditions", "the one pair"),
        (study(0.0, 0.5, splits=("test",)), "holds under conditions", "3 of 3 pairs"),
        (study(0.0, 0.5, path_on_test=0.1), "holds under conditions", "low on train for 3 of 3 pairs, not on test"),
        (study(0.3, 0.5), "does not hold", "No path was found for any of 3 pairs"),
        (study(0.3, 0.5, pairs=1), "inconclusive", "no proof"),
        (study(0.0, 0.01), "inconclusive", "None of the 3 straight lines"),
        (study(0.0, 0.5, error=0.85), "inconclusive", "hardly better than chance"),
        (pl.concat([study(0.0, 0.5, pairs=1), study(0.3, 0.5).filter(pl.col("a") != "randinit/0")]),
         "holds under conditions", "1 of 2 pairs"),
    ],
)  # fmt: skip
def test_the_verdict(rows, status, words):
    (judged,) = verdict(rows)
    assert (judged.claim, judged.status) == ("C11", status)
    assert words in judged.sentence


def test_of_two_paths_for_a_pair_the_better_one_counts():
    chains = study(0.0, 0.5).with_columns(path=pl.col("path").replace("bezier", "chain"))
    both = pl.concat([study(0.3, 0.5), chains.filter(pl.col("path") != "line")])
    assert verdict(both)[0].status == "holds"


def test_targets_are_judged_apart_and_drawn_side_by_side():
    rows = pl.concat([study(0.0, 0.5, target="line"), study(0.3, 0.5, target="mono")])
    (judged,) = verdict(rows)
    assert judged.status == "holds under conditions" and [part.target for part in judged.parts] == ["line", "mono"]
    titles = [panel["title"] for panel in chart(rows).to_dict()["concat"]]
    assert titles == ["line, train", "line, test", "mono, train", "mono, test"]
    assert verdict(rows.clear()) == ()
