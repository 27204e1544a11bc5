import math

import numpy as np
import pytest

from bequest.analyses.intervals import (
    Interval,
    bootstrap,
    bounded,
    linearised_ratio,
    mean_interval,
    paired_difference,
    share_interval,
)


def test_mean_interval_is_student_t():
    found = mean_interval([1.0, 2.0, 3.0])
    # t(0.975, 2) = 4.302653, standard error = 1 / sqrt(3)
    assert found.value == 2.0 and found.n == 3
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)


def test_mean_of_one_has_no_interval_and_of_none_is_refused():
    assert (mean_interval([0.25]).low, mean_interval([0.25]).high) == (None, None)
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])


def test_paired_difference_forgets_what_pairs_share():
    found = paired_difference([10.0, 20.0, 30.0], [9.0, 19.0, 29.0])
    assert (found.value, found.low, found.high, found.n) == (1.0, 1.0, 1.0, 3)
    with pytest.raises(ValueError, match="2 and 1"):
        paired_difference([1.0, 2.0], [1.0])


def test_wilson_against_the_printed_value():
    found = share_interval(8, 10)  # Wilson 1927 at 95 %: 0.4902 to 0.9433
    assert (found.low, found.high) == (pytest.approx(0.49016, abs=1e-4), pytest.approx(0.94332, abs=1e-4))
    assert share_interval(0, 10).low == 0 and share_interval(10, 10).high == pytest.approx(1)


def test_mean_interval_covers_95_percent():
    generator = np.random.default_rng(0)
    found = [mean_interval(generator.normal(size=4).tolist()) for _ in range(2000)]
    share = np.mean([one.low < 0 < one.high for one in found])
    assert 0.935 < share < 0.965


def test_bootstrap_of_a_mean_is_near_its_formula_and_repeats():
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap(lambda index: float(values[index].mean()), 400, seed=3)
    half = 1.96 * values.std() / math.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found == bootstrap(lambda index: float(values[index].mean()), 400, seed=3)


def test_bootstrap_leaves_out_undefined_resamples():
    assert bootstrap(lambda index: math.nan, 5).low is None


def test_linearised_ratio_is_the_ratio_of_means_with_its_spread():
    generator = np.random.default_rng(0)
    bottom = 5 + generator.normal(size=(4000, 12))
    top = 0.4 * bottom + 0.3 * generator.normal(size=bottom.shape)
    found = [mean_interval(linearised_ratio(a.tolist(), b.tolist())) for a, b in zip(top, bottom, strict=True)]
    assert found[0].value == pytest.approx(top[0].sum() / bottom[0].sum())
    covered = np.mean([one.low <= 0.4 <= one.high for one in found])
    assert covered == pytest.approx(0.95, abs=0.02)
    assert linearised_ratio([1.0, 3.0], [2.0, 2.0]) == [0.5, 1.5]


def test_intervals_of_shares_are_cut_to_their_range():
    found = mean_interval([0.01, 0.02, 0.06])
    assert found.low < 0
    assert bounded(found) == Interval(found.value, 0.0, found.high, 3)
    assert bounded(Interval(0.9, 0.7, 1.2, 3)).high == 1
    assert bounded(Interval(0.9, None, None, 1)) == Interval(0.9, None, None, 1)
    assert bounded(Interval(0.2, -3.0, 9.0, 2), 0, 5) == Interval(0.2, 0, 5, 2)
