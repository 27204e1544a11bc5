import math

import pytest

from bequest.evaluation.sequential import compared
from bequest.evaluation.tolerance import widest_valley

TENTHS = [place / 10 for place in range(1, 11)]


def closed(k, size, eps):
    """Excess of E = (1 - a)^2 D / k + sigma^2 (science.md 3.4)."""
    return lambda a, sigma: (1 - a) ** 2 * size / k + sigma**2 - eps


@pytest.mark.parametrize("room", [0.0, 0.2])
def test_closed_form(room):
    found = widest_valley(closed(50, 40.0, 0.2), lambda a: a * math.sqrt(40.0), TENTHS, room=room)
    assert 150 <= found.mu <= 150 * 1.02
    assert found.position == pytest.approx(0.75, abs=0.03)
    assert found.sigma == pytest.approx(0.387298, rel=0.05)
    assert found.mu == pytest.approx((found.distance / found.sigma) ** 2)
    assert found.tests < 60  # the grid has 121


@pytest.mark.parametrize("size,eps", [(0.5, 0.003), (3.0, 0.003), (40.0, 0.2), (1000.0, 0.2), (1e5, 0.003), (1e5, 0.2)])
def test_no_dearer_than_a_fine_sweep(size, eps):
    excess = closed(50, size, eps)
    swept = min(
        a * a * size / sigma**2
        for a in TENTHS
        for sigma in (math.exp(-place / 1000) for place in range(9000))
        if excess(a, sigma) <= 0
    )
    found = widest_valley(excess, lambda a: a * math.sqrt(size), TENTHS, room=eps)
    assert size / eps - 50 - 1e-9 <= found.mu <= 1.02 * swept


def test_nothing_accepted_is_infinite_and_all_accepted_is_the_corner():
    nothing = widest_valley(lambda a, s: 1.0, lambda a: a, TENTHS)
    assert math.isinf(nothing.mu) and math.isnan(nothing.sigma)
    everything = widest_valley(lambda a, s: -1.0, lambda a: a, TENTHS)
    assert (everything.position, everything.sigma) == pytest.approx((0.025, 1.0), abs=0.1)


def test_a_small_tolerated_sigma_is_found_where_a_linear_grid_has_nothing():
    found = widest_valley(lambda a, s: s - 0.0037 if a == 1.0 else 1.0, lambda a: 2 * a, TENTHS)
    assert found.sigma == pytest.approx(0.0037, rel=0.01)


def test_a_wrong_early_acceptance_is_taken_back():
    found = widest_valley(lambda a, s: s - 0.2, lambda a: a, [1.0], refine=False, verified=lambda a, s: s - 0.1)
    assert found.sigma <= 0.1 and found.sigma > 0.08


def test_the_mean_of_all_cells_decides():
    values = [0.1, 0.3, 0.2, 0.4] * 5
    mean = sum(values) / len(values)
    for threshold in (mean - 1e-3, mean + 1e-3):
        seen = compared(values.__getitem__, 20, threshold, complete=True)
        assert (seen.excess <= 0) == (threshold > mean)
    assert compared(lambda n: 0.1 + 0.2, 8, 0.3, complete=True).excess <= 0  # equal up to rounding


def test_clear_cases_take_few_cells():
    assert len(compared(lambda n: 0.9, 80, 0.05, lowest=0.0).values) <= 5
    assert len(compared(lambda n: 0.9 + n % 2 / 100, 80, 0.05).values) < 10  # not certain, but nearly so
    assert len(compared(lambda n: 0.01 * (n % 3), 80, 0.5, lowest=0.0).values) < 10
    assert compared(lambda n: math.nan, 80, 0.5).excess == math.inf
    assert compared(lambda n: -1.0, 80, -2.0).excess > 0  # a loss below 0 is not cut short


def test_a_reference_makes_near_cases_cheap():
    noise = [math.sin(7.0 * n) for n in range(80)]
    reference = [1 + value for value in noise]
    threshold = sum(reference) / 80

    def shifted(by):
        return lambda n: reference[n] + by + 0.01 * math.cos(3.0 * n)

    for by in (-0.1, 0.1):
        alone = compared(shifted(by), 80, threshold)
        paired = compared(shifted(by), 80, threshold, reference=reference)
        assert (paired.excess > 0) == (by > 0)
        assert len(paired.values) < 20 < len(alone.values)
