import math

import pytest
import torch

from bequest.evaluation.basins import conditions, vectors

SEGMENT = torch.tensor([[-1.0], [1.0]])


def square(point):
    return float(point @ point)


@pytest.mark.parametrize("a", [1.0, 3.0])
def test_the_square_on_a_segment_has_its_closed_form(a):
    delta = 0.5
    found = conditions(square, a * SEGMENT, delta=delta, samples=4000)
    assert found.mean == pytest.approx(a * a / 3, rel=1e-4)
    assert found.condition_1 == pytest.approx(0.256600 * a * a, rel=1e-3)
    assert found.condition_2 == pytest.approx(2 * a * a / 3 + delta**2, rel=0.02)
    assert found.condition_3 == pytest.approx(
        2 * a * a / 3 + 2 * a * delta * math.sqrt(2 / math.pi) + delta**2, rel=2e-3
    )
    assert a != 1 or found.condition_3 == pytest.approx(1.714551, rel=2e-3)


def test_what_is_off_is_within_the_standard_errors():
    wanted = [1 / 3, 0.256600, 2 / 3 + 0.25, 1.714551]
    found = conditions(square, SEGMENT, delta=0.5, samples=100, seed=3)
    sides = [found.mean, found.condition_1, found.condition_2, found.condition_3]
    for value, error, side in zip(sides, found.errors, wanted, strict=True):
        assert abs(value - side) < 3 * error and 0 < error < 0.2


def test_a_plane_over_a_triangle_gains_nothing_by_leaving_it():
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = conditions(lambda point: float(point.sum()), corners, delta=0.3, samples=4000)
    assert found.mean == pytest.approx(2 / 3, abs=4 * found.errors[0])
    # By symmetry the exits have their mean at the centre, and so have the points beyond them.
    assert abs(found.condition_2) < 4 * found.errors[2] < 0.04
    assert abs(found.condition_3) < 4 * found.errors[3] < 0.04


def test_noise_has_the_asked_length_over_all_coordinates():
    corners = torch.zeros(2, 400)
    corners[1, 0] = 1e-6
    found = conditions(square, corners, delta=2.0, samples=400)
    assert found.condition_2 == pytest.approx(4.0, rel=0.02)  # E |nu|^2 = delta^2


def test_the_search_finds_the_smallest_delta_of_each_condition():
    survey = vectors(lambda point: torch.tensor([square(point), 5 * square(point)]), SEGMENT, 400)
    threshold = 2 * float(survey.epsilon.value[0])  # 0.513, below 2/3: any delta would do
    assert survey.smallest_delta("random", 0, threshold) == pytest.approx(survey.diameter / 2**6)
    for direction, wanted in (("random", math.sqrt(4 - 2 / 3)), ("extrapolated", 1.1942)):
        delta = survey.smallest_delta(direction, 0, 4.0)  # 2/3 + delta^2 = 4; 2/3 + 1.5958 delta + delta^2 = 4
        assert wanted <= delta * 1.03 and delta <= wanted * 2**0.5 * 1.03
        assert float(survey.outside(direction, delta).value[0]) >= 4.0
        assert float(survey.outside(direction, delta / 2**0.5).value[0]) < 4.0
    joint = survey.joint_delta(0, 4.0)
    assert joint == survey.smallest_delta("random", 0, 4.0)
    assert survey.smallest_delta("random", 0, 1e9) is None and survey.joint_delta(0, 1e9) is None
    assert survey.smallest_delta("random", 1, 20.0) == survey.smallest_delta("random", 0, 4.0)


def test_a_search_measures_few_distances_and_each_once():
    calls = []

    def counted(point):
        calls.append(1)
        return torch.tensor([square(point)])

    survey = vectors(counted, SEGMENT, 10)
    survey.joint_delta(0, 4.0)
    tried = len(survey.measured("random")) + len(survey.measured("extrapolated"))
    assert tried <= 8 and len(calls) == 10 * (1 + tried)  # and the points inside, for mu
    survey.joint_delta(0, 4.0)
    assert len(calls) == 10 * (1 + tried)


def test_a_loss_that_is_not_finite_counts_as_outside():
    survey = vectors(lambda point: torch.tensor([1.0 if abs(float(point)) <= 1.5 else math.nan]), SEGMENT, 40)
    assert survey.outside("extrapolated", 10.0).value[0] == math.inf


def test_the_same_seed_gives_the_same_numbers():
    one, two, other = (conditions(square, SEGMENT, delta=0.5, samples=20, seed=seed) for seed in (1, 1, 2))
    assert one == two and one != other


def test_what_is_no_set_is_refused():
    with pytest.raises(ValueError, match="at least 2 members and an even number"):
        vectors(lambda point: point, torch.ones(1, 3), 10)
    with pytest.raises(ValueError, match="got 2 members and 3 samples"):
        vectors(lambda point: point, SEGMENT, 3)
    with pytest.raises(ValueError, match="all the same weights"):
        vectors(lambda point: point, torch.ones(2, 3), 10)
