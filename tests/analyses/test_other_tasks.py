"""Each analysis on labels and on language: the numbers of the whole set, however it is cut into batches."""

import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from bequest.analyses.barrier import barrier
from bequest.analyses.basin import basin
from bequest.analyses.connectivity import connect
from bequest.analyses.criticality import criticality
from bequest.analyses.matching import matching
from bequest.analyses.plane import plane
from bequest.analyses.valley import valley
from bequest.evaluation import tasks
from bequest.evaluation.batches import forward
from bequest.evaluation.predict import measure

TASKS = ("multilabel", "language-modelling")
N = 30


class Labels(nn.Module):
    """A small network of three labels."""

    def __init__(self):
        super().__init__()
        self.body, self.fc = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.body(x)))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.fc = nn.Embedding(9, 5), nn.Linear(5, 9)

    def forward(self, input_ids):
        return self.fc(torch.relu(self.embedding(input_ids)))


def made(task):
    """A model, three weights, and the data in one batch and in uneven ones."""
    generator = torch.Generator().manual_seed(1)
    model = Labels() if task == "multilabel" else Words()
    weights = [
        {name: torch.randn(tensor.shape, generator=generator) for name, tensor in model.state_dict().items()}
        for _ in range(3)
    ]
    if task == "multilabel":
        inputs = torch.randn(N, 6, generator=generator)
        targets = torch.randint(0, 2, (N, 3), generator=generator).float()
        targets[torch.rand(N, 3, generator=generator) < 0.2] = torch.nan
    else:
        inputs = torch.randint(0, 9, (N, 7), generator=generator)
        targets = inputs.clone()
        for row in range(N):
            targets[row, 2 + row % 5 :] = -100  # uneven lengths: a mean over batches would be another number
        order = targets.eq(-100).sum(1).argsort()
        inputs, targets = inputs[order], targets[order]
    cuts = [N], [3, 10, 10, 7]
    shaped = [
        [
            (part if task == "multilabel" else {"input_ids": part}, truth)
            for part, truth in zip(inputs.split(cut), targets.split(cut), strict=True)
        ]
        for cut in cuts
    ]
    weights[1] = trained(model, weights[1], shaped[0][0], task)
    return model, weights, shaped[0], shaped[1]


def trained(model, weights, batch, task):
    """Weights that have learned the data, so that rewinding a module costs something."""
    model.load_state_dict(weights)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(60):
        optimizer.zero_grad()
        tasks.task(task).loss(forward(model, batch[0]), batch[1]).backward()
        optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def known(task, model, weights, whole):
    """The error, worked out without Bequest."""
    ((inputs, targets),) = whole
    model.load_state_dict(weights)
    with torch.no_grad():
        outputs = model(inputs) if task == "multilabel" else model(**inputs)
    if task == "multilabel":
        there = [~targets[:, c].isnan() for c in range(3)]
        areas = [roc_auc_score(targets[there[c], c], outputs[there[c], c]) for c in range(3)]
        return 1 - sum(areas) / 3
    pairs = [
        (int(outputs[row, place].argmax()), int(targets[row, place + 1])) for row in range(N) for place in range(6)
    ]
    pairs = [(said, truth) for said, truth in pairs if truth != -100]
    return sum(said != truth for said, truth in pairs) / len(pairs)


def alike(one, other, skip=()):
    """Assert that two tables have the same values, but for those that count the work."""
    one, other = (rows.filter(~pl.col("metric").is_in(["forwards", *skip])) for rows in (one, other))
    assert one["metric"].to_list() == other["metric"].to_list()
    for a, b in zip(one["value"], other["value"], strict=True):
        assert (a is None and b is None) or a == pytest.approx(b, rel=2e-4, abs=2e-5)


@pytest.mark.parametrize("task", TASKS)
def test_the_brute_force_twin_sees_what_measure_sees(task):
    model, weights, whole, cut = made(task)
    for one in weights:
        assert measure(model, cut, task, weights=one)[1] == pytest.approx(known(task, model, one, whole), abs=1e-9)
    means = [measure(model, [batch], task, weights=weights[0])[1] for batch in cut]
    sizes = [batch[1].shape[0] for batch in cut]
    naive = sum(mean * size for mean, size in zip(means, sizes, strict=True)) / N
    assert abs(naive - known(task, model, weights[0], whole)) > 0.001  # so a mean over batches would be found out


@pytest.mark.parametrize("task", TASKS)
def test_barrier(task):
    model, (a, b, _), whole, cut = made(task)
    rows = barrier(model, {"a": a, "b": b}, cut, points=5, task=task).rows
    for t in (0.0, 0.25, 0.75, 1.0):
        mixed = {name: (1 - t) * a[name] + t * b[name] for name in a}
        found = rows.filter(pl.col("x") == t, metric="error").row(0, named=True)
        assert found["value"] == pytest.approx(known(task, model, mixed, whole), abs=1e-9)
        assert found["low"] is None and found["n"] == N  # no interval of independent examples
    assert rows.filter(metric="chance_accuracy")["value"][0] == pytest.approx(
        0.5 if task == "multilabel" else 0.2, abs=0.1
    )
    alike(rows, barrier(model, {"a": a, "b": b}, whole, points=5, task=task).rows)


@pytest.mark.parametrize("task", TASKS)
def test_basin_plane_and_matching(task):
    model, weights, whole, cut = made(task)
    named = dict(zip("abc", weights, strict=True))
    rows = [basin(model, named, batches, samples=4, task=task).rows for batches in (cut, whole)]
    alike(*rows)
    corners = sum(known(task, model, one, whole) for one in weights) / 3
    assert rows[0].filter(metric="members", of="error")["value"][0] == pytest.approx(corners, abs=1e-9)
    rows = [plane(model, named, batches, points=5, budget=1, task=task).rows for batches in (cut, whole)]
    alike(*rows)
    for name, one in named.items():
        found = rows[0].filter(metric="corner_error", b=name)["value"][0]
        assert found == pytest.approx(known(task, model, one, whole), abs=1e-9)
    if task == "multilabel":
        two = {"a": weights[0], "b": weights[1]}
        rows = [matching(model, two, batches, points=3, task=task).rows for batches in (cut, whole)]
        alike(*rows)
        middle = {name: (weights[0][name] + weights[1][name]) / 2 for name in weights[0]}
        found = rows[0].filter(pl.col("x") == 0.5, metric="error", treatment="raw")["value"][0]
        assert found == pytest.approx(known(task, model, middle, whole), abs=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_connectivity(task):
    model, (a, b, _), whole, cut = made(task)
    result = connect(model, a, b, cut, batches=cut, epochs=2, points=3, learning_rate=0.01, task=task)
    control = {name.split("/", 1)[1]: tensor for name, tensor in result.arrays.items()}
    middle = {name: a[name] / 4 + control[name] / 2 + b[name] / 4 for name in a}  # Bezier at t = 1/2
    found = result.rows.filter(pl.col("x") == 0.5, metric="error", path="bezier")["value"][0]
    assert found == pytest.approx(known(task, model, middle, whole), abs=1e-9)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("objective", ["error", "loss"])
def test_criticality_and_valley(task, objective):
    model, (initial, final, _), whole, cut = made(task)
    options = {"task": task, "objective": objective}
    limit = measure(model, whole, task, weights=final)[objective == "error"] + 0.05
    rows = [
        criticality(model, initial, final, batches, draws=3, tolerance=limit, **options).rows
        for batches in (cut, whole)
    ]
    alike(*rows)
    assert rows[0].filter(metric="mu", module="fc")["value"][0] > 0  # noise was drawn
    if objective == "error":
        rewound = final | {name: initial[name] for name in final if name.startswith("fc.")}
        found = rows[0].filter(metric="rewind_error", module="fc").row(0, named=True)
        assert found["value"] == pytest.approx(known(task, model, rewound, whole), abs=1e-9)
        assert found["low"] is None
    drawn = [
        valley(model, initial, final, batches, ["fc"], points=3, sigmas=[0.0, 0.1], draws=2, **options).rows
        for batches in (cut, whole)
    ]
    alike(*drawn)
