"""Groups of solutions that share a basin, on a line of wells whose barriers are known."""

import pytest
import torch
from torch import nn

from bequest.decisions.scores import Scales
from bequest.decisions.shared_basins import Basins
from bequest.evaluation.tasks import task

BATCHES = [(torch.zeros(4, 1), torch.zeros(4))]


class Place(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.w.expand(len(x), 1)


def bumps(outputs, targets):
    """Wells at 0, 1, 2 and 3: low walls of 0.1 between the first three, one of 2 before the last."""
    w = outputs.mean()
    return torch.sin(torch.pi * w).square() * (0.1 if w < 2 else 2.0)


def basins(members, limit=0.15, points=5, loss=bumps):
    weights = {name: {"w": torch.tensor([float(w)])} for name, w in members.items()}
    return Basins(Scales(Place(), task(loss)), weights, BATCHES, points, limit)


def test_the_height_is_that_of_the_wall_and_knows_where_it_stands():
    found = basins({"a": 0, "b": 1}).between("b", "a")
    assert (found.a, found.b, found.at) == ("a", "b", 0.5)
    assert found.height.value == pytest.approx(0.1)
    assert found.loss_height == pytest.approx(0.1)
    assert found.height.low is None  # a loss is no share of examples


def test_groups_begin_with_the_best_and_only_the_lines_they_need_are_measured():
    found = basins({"a": 0, "b": 1, "far": 3, "further": 3.0001})
    assert found.groups(["b", "far", "a", "further"]) == [["b", "a"], ["far", "further"]]
    assert set(found.lines) == {("b", "far"), ("a", "b"), ("b", "further"), ("far", "further")}
    assert found.worst(["a"]).b == "b"
    assert found.worst(["further"]).height.value == pytest.approx(2.0, rel=0.2)


def test_sharing_a_basin_is_no_equivalence():
    def walls(outputs, targets):  # a with b, b with c, but between a and c stands the sum of two slopes
        w = outputs.mean()
        return torch.relu(1 - (w - 1).abs())

    found = basins({"a": 0, "b": 1, "c": 2}, limit=0.6, loss=walls)
    assert found.between("a", "b").height.value == pytest.approx(0.0)
    assert found.between("a", "c").height.value == pytest.approx(1.0)
    assert found.groups(["a", "b", "c"]) == [["a", "b"], ["c"]]
    assert found.groups(["b", "c", "a"]) == [["b", "c"], ["a"]]


def test_a_line_that_is_not_finite_is_a_barrier():
    def broken(outputs, targets):
        w = outputs.mean()
        return torch.where((w - 0.5).abs() < 0.1, torch.nan, 0.0)

    assert basins({"a": 0, "b": 1}, loss=broken).between("a", "b").word(10.0) == "apart"


class Share(nn.Module):
    """Wrong on the first examples: as many as its weight says, in tenths."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        wrong = (x[:, :1] < (self.w * (1 - self.w) * 4) * 0.1).float()
        return torch.cat([1 - wrong, wrong], 1)


@pytest.mark.parametrize(("n", "word"), [(20, "open"), (4000, "apart")])
def test_few_examples_leave_it_open_and_many_decide(n, word):
    batches = [((torch.arange(n) / n)[:, None], torch.zeros(n, dtype=torch.int64))]
    members = {name: {"w": torch.tensor([w])} for name, w in (("a", 0.0), ("b", 1.0))}
    line = Basins(Scales(Share(), task("classification")), members, batches, 3, 0.05).between("a", "b")
    assert line.height.value == pytest.approx(0.1)  # half-way every tenth example is wrong, at the ends none
    assert line.height.low < 0.1 < line.height.high
    assert line.word(0.05) == word
    assert line.word(0.9) == "together"
