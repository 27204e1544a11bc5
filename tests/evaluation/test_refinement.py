import numpy as np
import pytest

from bequest.evaluation.contours import contour
from bequest.evaluation.refinement import interpolated, refined

SURFACES = {
    "bowl": lambda x, y: 0.01 + x * x + 3 * y * y + x * y,
    "valley": lambda x, y: 0.1 + np.log1p(5 * (y - 0.5 * np.sin(2 * x)) ** 2 + 0.3 * x**4),
    "two basins": lambda x, y: 0.05 + np.minimum(x**2 + y**2, 1.5 * (x - 1.6) ** 2 + (y - 1) ** 2),
}


def searched(function, points, **options):
    axis = np.linspace(-1.5, 2.5, points)
    asked = []

    def measure(places):
        assert places == sorted(places) and not set(places) & set(asked)
        asked.extend(places)
        return [float(function(axis[column], axis[row])) for row, column in places]

    full = np.array([[function(x, y) for x in axis] for y in axis])
    return refined(measure, points, **options), full, axis, asked


def spots(values, axis, level):
    return np.array([piece[k : k + 2] for piece in contour(values, axis, axis, level) for k in (0, 2)])


@pytest.mark.parametrize("name", SURFACES)
@pytest.mark.parametrize("points", [17, 25, 33])
def test_a_third_of_the_points_gives_the_contour_within_two_percent(name, points):
    surface, full, axis, asked = searched(SURFACES[name], points)
    assert len(asked) == surface.measured.sum() <= points * points / 3
    assert np.array_equal(surface.values[surface.measured], full[surface.measured])
    level = surface.levels[0]
    assert abs((surface.values < level).mean() - (full < level).mean()) <= 0.02
    here, there = spots(surface.values, axis, level), spots(full, axis, level)
    apart = np.linalg.norm(here[:, None] - there[None], axis=2)
    assert max(apart.min(0).max(), apart.min(1).max()) <= 0.02 * (axis[-1] - axis[0])


def test_levels_of_ones_own_and_a_full_grid():
    surface, full, _, _ = searched(SURFACES["bowl"], 17, levels=[1.0, 4.0], budget=0.5)
    assert surface.levels == (1.0, 4.0)
    for level in surface.levels:
        assert abs((surface.values < level).mean() - (full < level).mean()) <= 0.02
    surface, full, _, asked = searched(SURFACES["bowl"], 7)  # too coarse to save anything
    assert len(asked) == 49 and np.array_equal(surface.values, full)
    surface, full, _, asked = searched(SURFACES["bowl"], 9, budget=1)
    assert len(asked) == 81 and np.array_equal(surface.values, full)


def test_a_flat_surface_needs_no_more_than_the_coarse_grid_allows():
    surface, full, _, _ = searched(lambda x, y: 2.0, 17, levels=[3.0])
    assert surface.measured.sum() == 25
    np.testing.assert_allclose(surface.values, full, rtol=1e-9)


def test_what_is_rough_is_looked_at_though_no_contour_passes():
    def spike(x, y):
        return 1 + 3 * np.exp(-8 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)) + 0.3 * np.exp(-3 * ((x - 1.6) ** 2 + y**2))

    surface, _, _, _ = searched(spike, 17, levels=[3.0])
    assert surface.measured[:, 11:].sum() > 10  # the second hill, where there is no contour


def test_an_infinite_value_does_not_spoil_the_others():
    values = np.array([[1.0, np.nan, 2.0], [np.nan, np.nan, np.nan], [3.0, np.nan, np.inf]])
    measured = np.zeros((3, 3), dtype=bool)
    measured[::2, ::2] = True
    filled = interpolated(values, measured)
    assert np.isfinite(np.delete(filled.ravel(), 8)).all() and filled[2, 2] == np.inf and (filled > 0).all()


def test_a_circle_has_its_contour():
    axis = np.linspace(-2, 2, 81)
    pieces = contour(axis[:, None] ** 2 + axis[None] ** 2, axis, axis, 1.0)
    assert sum(np.hypot(x - x2, y - y2) for x, y, x2, y2 in pieces) == pytest.approx(2 * np.pi, rel=1e-3)
    assert all(np.hypot(x, y) == pytest.approx(1, abs=2e-3) for x, y, _, _ in pieces)


@pytest.mark.parametrize(("first", "cut"), [(2.0, {"01", "10"}), (1.2, {"00", "11"})])
def test_a_saddle_is_cut_by_its_middle(first, cut):
    # corners 00 and 11 are above the level 1; where the mean is above it they are joined, and 01, 10 are cut off
    values = np.array([[first, 0.5], [0.5, first]])
    pieces = contour(values, [0, 1], [0, 1], 1.0)
    assert len(pieces) == 2
    centres = {f"{round((y + y2) / 2)}{round((x + x2) / 2)}" for x, y, x2, y2 in pieces}
    assert centres == cut
    assert contour(np.array([[np.nan, 2.0], [0.0, 0.0]]), [0, 1], [0, 1], 1.0) == []


def test_bad_grids_are_refused():
    with pytest.raises(ValueError, match="at least 2 points a side"):
        refined(lambda places: [], 1)
    with pytest.raises(ValueError, match="budget above 0 to 1"):
        refined(lambda places: [], 9, budget=0)
