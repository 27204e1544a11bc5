import pytest
import torch
from torch import nn

from bequest.decisions.mixes import completed, greedy, interpolated, uniform
from bequest.decisions.scores import Scales
from bequest.evaluation.tasks import task


class Place(nn.Module):
    """A point whose loss is its distance from 1, to the left of which everything is flat."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    def forward(self, x):
        return self.w.expand(len(x), 1)


def far(outputs, targets):
    return (outputs.mean() - 1).abs()


def at(w, count=0):
    return {"w": torch.tensor([w]), "count": torch.tensor([count])}


BATCHES = [(torch.zeros(2, 1), torch.zeros(2))]


def scales():
    return Scales(Place(), task(far))


def test_greedy_keeps_what_does_not_make_it_worse_in_order_of_rank():
    members = {"best": at(1.2, 5), "other": at(0.8), "far": at(3.0), "near": at(1.1)}
    ranked = ["best", "other", "far", "near"]
    measure = scales()
    found = greedy(measure, members, ranked, measure.score(members["best"], BATCHES), BATCHES)
    # (1.2 + 0.8) / 2 = 1 is better, with 3.0 it is 1.67 and worse, with 1.1 1.03 and worse
    assert found.names == ("best", "other")
    assert [(trial.name, trial.kept) for trial in found.trials] == list(zip(ranked, [1, 1, 0, 0], strict=True))
    assert [trial.error for trial in found.trials] == pytest.approx([0.2, 0.0, 2 / 3, 0.1 / 3], abs=1e-6)
    assert found.weights["count"].item() == 5  # a counter is no average


def test_a_mean_that_is_as_good_is_kept():
    members = {"a": at(1.5), "b": at(1.5)}
    measure = scales()
    assert greedy(measure, members, ["a", "b"], measure.score(members["a"], BATCHES), BATCHES).names == ("a", "b")


def test_uniform_takes_all():
    members = {"a": at(0.0), "b": at(1.0), "c": at(5.0)}
    found = uniform(scales(), members, ["a", "b", "c"], BATCHES)
    assert found.weights["w"].item() == pytest.approx(2.0)
    assert found.score.error == pytest.approx(1.0)


def test_both_ends_of_an_interpolation_are_what_was_given():
    base, end = at(0.1), at(0.7, 3)
    measure = scales()
    for alphas, expected in (((0.0, 1.0), end), ((0.0,), end)):
        mix, curve = interpolated(measure, base, end, measure.score(end, BATCHES), alphas, BATCHES)
        assert mix.alpha == 1.0 and all(torch.equal(mix.weights[name], expected[name]) for name in end)
        assert [alpha for alpha, _ in curve] == [0.0, 1.0]
    better = at(1.0, 7)
    mix, _ = interpolated(measure, better, end, measure.score(end, BATCHES), (0.0, 0.5), BATCHES)
    assert mix.alpha == 0.0 and all(torch.equal(mix.weights[name], better[name]) for name in end)


def test_the_lowest_point_is_chosen_and_of_equals_the_one_nearest_to_the_end():
    measure = scales()
    mix, curve = interpolated(measure, at(0.0), at(2.0), measure.score(at(2.0), BATCHES), (0, 0.25, 0.5, 1), BATCHES)
    assert mix.alpha == 0.5
    assert [score.error for _, score in curve] == pytest.approx([1.0, 0.5, 0.0, 1.0])
    mix, _ = interpolated(measure, at(0.5), at(1.5), measure.score(at(1.5), BATCHES), (0, 1), BATCHES)
    assert mix.alpha == 1.0


def test_what_the_base_lacks_comes_from_the_end():
    end = {"body": torch.ones(2), "head": torch.ones(3), "bias": torch.ones(1)}
    found = completed({"body": torch.zeros(2), "head": torch.zeros(7)}, end)
    assert found["body"].sum() == 0
    assert found["head"] is end["head"] and found["bias"] is end["bias"]
