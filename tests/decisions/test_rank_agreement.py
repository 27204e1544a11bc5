import math

import numpy as np
import pytest
from scipy import stats

from bequest.decisions.rank_agreement import agreement, kendall, pearson, weighted_kendall


@pytest.mark.parametrize("seed", range(6))
def test_correlations_are_scipys(seed):
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=9), generator.normal(size=9)
    if seed % 2:
        x, y = np.round(x), np.round(y)  # with ties
    assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic)
    assert weighted_kendall(x, y) == pytest.approx(stats.weightedtau(x, y).statistic)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)


def test_the_weighted_tau_cares_for_the_best():
    truth = np.arange(6.0)
    top, bottom = truth.copy(), truth.copy()
    top[[4, 5]] = top[[5, 4]]
    bottom[[0, 1]] = bottom[[1, 0]]
    assert kendall(top, truth) == kendall(bottom, truth)
    assert weighted_kendall(top, truth) < weighted_kendall(bottom, truth)


def test_a_perfect_order_of_five_is_one_of_two_in_all_orders():
    found = agreement([1, 2, 3, 4, 5], [0.1, 0.2, 0.3, 0.4, 0.9])
    assert (found.kendall.value, found.weighted.value, found.kendall.n) == (1, 1, 5)
    assert found.p == pytest.approx(2 / 120)
    assert found.kendall.low == 1 and found.sure
    backwards = agreement([5, 4, 3, 2, 1], [0.1, 0.2, 0.3, 0.4, 0.9])
    assert backwards.kendall.value == -1 and not backwards.sure


def test_nothing_is_said_of_four():
    found = agreement([1, 2, 3, 4], [1, 2, 3, 4])
    assert found.kendall.value == 1 and found.kendall.low is None
    assert found.p == pytest.approx(2 / 24) and not found.sure


def test_p_of_many_is_near_the_exact_one():
    generator = np.random.default_rng(0)
    x = generator.normal(size=9)
    y = x + generator.normal(size=9)
    exact = stats.kendalltau(x, y, method="exact").pvalue
    assert agreement(x, y).p == pytest.approx(exact, abs=0.02)


def test_noise_is_rarely_sure_and_its_interval_holds_zero():
    generator = np.random.default_rng(1)
    found = [agreement(generator.normal(size=6), generator.normal(size=6)) for _ in range(20)]
    assert sum(one.sure for one in found) <= 3
    assert sum(one.kendall.low <= 0 <= one.kendall.high for one in found) >= 14


def test_rounding_is_no_order():
    bound = [9.0, 9.0 + 1e-14, 9.0 - 3e-13, 9.0 + 2e-12, 9.0]
    assert math.isnan(agreement(bound, [1, 2, 3, 4, 5]).kendall.value)
    assert agreement([1e-6, 2e-6, 3e-6, 4e-6, 5e-6], [1, 2, 3, 4, 5]).kendall.value == 1


def test_without_variation_there_is_no_correlation():
    found = agreement([1.0] * 5, [1, 2, 3, 4, 5])
    assert math.isnan(found.kendall.value) and math.isnan(found.pearson.value) and math.isnan(found.p)
    assert not found.sure
    with pytest.raises(ValueError, match="got 2 and 1"):
        agreement([1, 2], [1])
