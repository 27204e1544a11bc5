import math

import pytest

from bequest.evaluation.barriers import DEFINITIONS, entezari, frankle, gsaltintas, midpoint

FIVE = [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("losses", "of_frankle", "of_entezari", "of_midpoint", "of_gsaltintas"),
    [
        ([1, 2, 5, 2, 3], 3, 3, 3, 3),
        ([0, 1, 2, 4.5, 4], 2.5, 1.5, 0, 1.5),
        ([0, 1, 2, 3, 4], 2, 0, 0, 0),  # Frankle's false barrier: unequal ends
        ([0, 3, 2, 3.5, 4], 2, 2, 0, 0),  # missed where only the top is looked at
        ([2, 1, 0.5, 1, 2], 0, 0, -1.5, 0),
    ],
)
def test_the_four_definitions_on_the_known_curves(losses, of_frankle, of_entezari, of_midpoint, of_gsaltintas):
    for curve in (losses, losses[::-1]):
        assert frankle(curve, FIVE) == pytest.approx(of_frankle)
        assert entezari(curve, FIVE) == pytest.approx(of_entezari)
        assert midpoint(curve, FIVE) == pytest.approx(of_midpoint)
        assert gsaltintas(curve, FIVE) == pytest.approx(of_gsaltintas)


def test_a_double_well_has_the_barrier_one():
    ts = [index / 20 for index in range(21)]
    losses = [(1 - (2 * t - 1) ** 2) ** 2 for t in ts]
    assert all(height(losses, ts) == pytest.approx(1.0) for height in DEFINITIONS.values())


def test_a_flat_curve_has_exactly_none():
    for value in (0.1, 1 / 3, 7.77):
        assert [height([value] * 5, FIVE) for height in DEFINITIONS.values()] == [0.0] * 4


def test_the_midpoint_is_interpolated_where_the_grid_has_none():
    assert midpoint([0, 2, 4, 0], [0, 0.25, 0.75, 1]) == pytest.approx(3.0)


def test_equal_tops_give_the_same_in_both_directions():
    losses = [0, 4, 1, 4, 2]
    assert gsaltintas(losses, FIVE) == gsaltintas(losses[::-1], FIVE) == 3.5


def test_a_curve_that_is_not_finite_has_no_barrier():
    assert all(math.isnan(height([1, 2, math.inf, 2, 1], FIVE)) for height in DEFINITIONS.values())
    assert all(math.isnan(height([1, math.nan, 1, 2, 1], FIVE)) for height in DEFINITIONS.values())


@pytest.mark.parametrize("ts", [[0, 0.5, 0.9], [0.1, 0.5, 1], [0, 0.5, 0.5, 1], [0, 1]])
def test_curves_without_their_ends_are_refused(ts):
    for height in DEFINITIONS.values():
        with pytest.raises(ValueError, match="from 0 to 1"):
            height([1, 2, 1], ts)
