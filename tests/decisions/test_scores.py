import math

import pytest
import torch
from torch import nn

from bequest.decisions.scores import Scales, Score, difference, ensemble, paired, scored
from bequest.evaluation.predict import measure
from bequest.evaluation.tasks import task


def test_the_paired_interval_is_that_of_bonett_and_price():
    # 5 examples the first alone gets wrong, 1 the second alone, of 50
    own = torch.tensor([1.0] * 5 + [-1.0] + [0.0] * 44)
    found = paired(own)
    p12, p21 = 6 / 52, 2 / 52
    half = 1.959964 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / 52)
    assert found.value == pytest.approx(0.08)
    assert (found.low, found.high) == pytest.approx((p12 - p21 - half, p12 - p21 + half), abs=1e-6)
    assert found.n == 50


def test_models_that_agree_on_everything_are_not_equal_beyond_doubt():
    few, many = paired(torch.zeros(20)), paired(torch.zeros(2000))
    assert few.value == many.value == 0
    assert few.low < -0.05 < -0.005 < many.low < 0 < many.high < 0.005 < 0.05 < few.high


def test_a_score_is_what_measuring_gives_and_knows_each_example():
    model = nn.Linear(3, 4)
    batches = [(torch.randn(7, 3), torch.randint(0, 4, (7,))), (torch.randn(2, 3), torch.randint(0, 4, (2,)))]
    found = scored(model.eval(), batches, task("classification"), keep=True)
    loss, error = measure(model, batches)
    assert (found.error, found.n) == (error, 9)
    assert found.loss == pytest.approx(loss)
    assert float(found.wrong.mean()) == pytest.approx(error)
    assert found.interval.low < error < found.interval.high or error in (0, 1)
    assert ensemble([found], batches).error == pytest.approx(error)
    assert ensemble([found, Score(0.0, 0.0, 9)], batches) is None


def test_shares_of_classes_count_by_the_largest():
    model = nn.Linear(3, 2)
    inputs = torch.randn(8, 3)
    hard = torch.randint(0, 2, (8,))
    soft = nn.functional.one_hot(hard, 2) * 0.6 + 0.2
    errors = [scored(model.eval(), [(inputs, goal)], task("classification")) for goal in (hard, soft)]
    assert torch.equal(errors[0].wrong, errors[1].wrong)
    assert errors[1].error == errors[0].error


def test_other_errors_have_a_difference_and_no_interval():
    found = difference(Score(0.3, 1.0, 10), Score(0.1, 1.0, 10))
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (None, None)


def test_what_is_not_a_number_comes_last():
    assert Score(float("nan"), 0.0, 1).order > Score(1.0, 9.0, 1).order


def test_images_are_counted():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    batches = [(torch.randn(5, 3), torch.randint(0, 4, (5,)))]
    scales = Scales(model, task("classification"), calibration=batches * 2)
    assert scales.refits and not scales.stale
    scales.score(scales.refitted(model.state_dict()), batches)
    assert scales.images == 15
    assert Scales(model, task("classification")).stale
    assert not Scales(nn.Linear(3, 4), task("classification")).stale
