import copy

import polars as pl
import pytest
import torch
from torch import nn

from bequest.analyses.matching import ALREADY, chart, matching, modulo_order, verdict
from bequest.analyses.result import table
from bequest.evaluation.batchnorm import refit_batchnorm
from bequest.evaluation.predict import measure
from bequest.models.symmetry import symmetry_of
from bequest.weights.algebra import lerp
from bequest.weights.symmetry import permute


def network(batchnorm, width=48):
    layers = []
    for inputs in (2, width, width, width):
        layers += [nn.Linear(inputs, width), *([nn.BatchNorm1d(width)] if batchnorm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def rings(seed, sizes=(128, 128, 60)):
    """Two classes: inside or outside of a circle."""
    generator = torch.Generator().manual_seed(seed)
    points = [torch.randn(size, 2, generator=generator) for size in sizes]
    return [(point, (point.norm(dim=1) > 1.18).long()) for point in points]


TRAIN, TEST = rings(0), rings(1)


def trained(batchnorm, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = network(batchnorm)
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(150):
        points, targets = TRAIN[step % 3]
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(points), targets).backward()
        optimiser.step()
    return copy.deepcopy(model.eval().state_dict())


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "batchnorm"])
def measured(request):
    model = network(request.param).eval()
    ends = {f"randinit/{seed}": trained(request.param, seed) for seed in range(3)}
    symmetry = symmetry_of(model)
    order = symmetry.draw(torch.Generator().manual_seed(0))
    ends["copy"] = permute(ends["randinit/0"], symmetry, order)
    batches = {"train": TRAIN, "test": TEST}
    pairs = [
        ("randinit/0", "randinit/1"),
        ("randinit/0", "randinit/2"),
        ("randinit/1", "randinit/2"),
        ("randinit/0", "copy"),
    ]
    before = copy.deepcopy(model.state_dict())
    result = matching(model, ends, batches, points=5, calibration=TRAIN, pairs=pairs)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    return request.param, model, ends, result


def test_a_permuted_copy_is_far_away_and_matched_it_is_the_same_point(measured):
    _, _, _, result = measured
    copied = {"a": "randinit/0", "b": "copy"}
    assert result.value("l2", treatment="raw", **copied) > 5
    assert result.value("l2", treatment="matched", **copied) == 0
    assert result.value("barrier_error", treatment="raw", split="train", **copied) > 0.1
    for treatment in ("matched", "repaired"):
        for metric in ("barrier_error", "barrier_loss"):
            assert result.value(metric, treatment=treatment, split="test", **copied) == pytest.approx(0, abs=1e-6)


def test_matching_lowers_the_barrier_between_random_inits_and_repair_lowers_it_further(measured):
    batchnorm, _, _, result = measured
    means = {}
    for treatment in ("raw", "matched", "repaired"):
        rows = result.select("barrier_loss", treatment=treatment, split="test").filter(pl.col("b") != "copy")
        assert rows.height == 3
        means[treatment] = rows["value"].mean()
    assert means["matched"] < 0.8 * means["raw"]
    assert means["repaired"] == means["matched"] if batchnorm else means["repaired"] < 0.7 * means["matched"]
    notes = set(result.rows.filter(treatment="repaired")["note"])
    assert notes == ({ALREADY} if batchnorm else {None})
    naive = result.rows.filter(pl.col("metric") == "barrier_loss_naive")
    assert set(naive["treatment"]) == ({"matched"} if batchnorm else set())
    if batchnorm:
        assert naive.filter(pl.col("b") != "copy", split="test")["value"].mean() > means["matched"]
    distances = [result.value("l2", treatment=one, a="randinit/0", b="randinit/1") for one in ("raw", "matched")]
    assert distances[1] < distances[0]


def test_the_raw_line_and_the_ends_are_the_direct_evaluation(measured):
    batchnorm, model, ends, result = measured
    a, b = ends["randinit/0"], ends["randinit/1"]
    where = {"a": "randinit/0", "b": "randinit/1", "split": "test"}
    for t in (0.0, 0.5, 1.0):
        point = lerp(a, b, t)
        point = refit_batchnorm(model, point, TRAIN) if batchnorm else point
        loss, error = measure(model, TEST, weights=point)
        assert result.value("loss", treatment="raw", x=t, **where) == pytest.approx(loss, rel=1e-5)
        assert result.value("error", treatment="raw", x=t, **where) == pytest.approx(error, abs=1e-9)
    for treatment in ("matched", "repaired"):
        for t in (0.0, 1.0):
            same = [result.value("loss", treatment=one, x=t, **where) for one in ("raw", treatment)]
            assert same[0] == same[1]


def test_by_activations_and_without_calibration(measured):
    batchnorm, model, ends, _ = measured
    few = {name: ends[name] for name in ("randinit/0", "copy")}
    result = matching(model, few, TEST, points=3, calibration=TRAIN, by="activations")
    assert result.value("barrier_error", treatment="matched") < result.value("barrier_error", treatment="raw")
    result = matching(model, few, TEST, points=3)
    assert set(result.rows["treatment"]) == {"raw", "matched"}
    assert ("BatchNorm was not refitted" in str(result.rows["note"].to_list())) == batchnorm


def test_the_models_own_tensors_may_be_an_end(measured):
    _, model, ends, _ = measured
    own = copy.deepcopy(model)
    own.load_state_dict(ends["randinit/1"])
    given = {"a": ends["randinit/0"], "b": own.state_dict()}
    expected = {"a": ends["randinit/0"], "b": ends["randinit/1"]}
    results = [matching(own, one, TEST, points=3, calibration=TRAIN).rows for one in (given, expected)]
    assert results[0].equals(results[1])


def test_the_clause_for_c8_the_chart_and_no_verdict_of_its_own(measured):
    batchnorm, _, _, result = measured
    clause = modulo_order(result.rows)
    assert clause.startswith("with channels matched, barriers go from ") and clause.endswith(" on test (3 pairs)")
    assert ("repaired" in clause) != batchnorm
    assert verdict(result.rows) == () == result.verdict
    assert modulo_order(result.rows, target="digits") is None
    drawn = chart(result.rows).to_dict()
    assert len(drawn["concat"]) == 2
    alone = chart(result.rows.filter(split="test")).to_dict()
    assert alone["width"] == "container" and alone["encoding"]["color"]["title"] == "channels of b"


def test_the_numbers_in_the_clause():
    rows = [
        {"a": a, "b": b, "metric": "barrier_error", "treatment": one, "value": value}
        for one, value in (("raw", 0.5), ("matched", 0.2), ("repaired", 0.05))
        for a, b in (("randinit/0", "randinit/1"), ("finetune/0", "finetune/1"))
    ]
    assert modulo_order(table("matching", rows)) == (
        "with channels matched, barriers go from 50.0 to 20.0 points of error, and to 5.0 with their statistics "
        "repaired (1 pair)"
    )


def test_bad_input_is_named():
    model = network(False)
    ends = {"a": model.state_dict(), "b": copy.deepcopy(model.state_dict())}
    with pytest.raises(ValueError, match="at least 3 points"):
        matching(model, ends, TEST, points=2)
    with pytest.raises(ValueError, match="no endpoint 'c'"):
        matching(model, ends, TEST, pairs=[("a", "c")])
    with pytest.raises(ValueError, match="needs two endpoints"):
        matching(model, {"a": ends["a"]}, TEST)
    with pytest.raises(ValueError, match="by='activations'"):
        matching(model, ends, TEST, by="activations")
    with pytest.raises(ValueError, match="not of this model"):
        matching(model, {**ends, "b": {"0.weight": torch.zeros(1)}}, TEST)
