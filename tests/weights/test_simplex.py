import math

import pytest
import torch

from bequest.weights.simplex import beyond, exits, half_normal, inside, rays


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("members", [2, 3, 5])
def test_points_inside_are_uniform(members):
    points = inside(members, 20_000, stream())
    assert (points >= 0).all() and torch.allclose(points.sum(1), torch.ones(20_000, dtype=torch.float64))
    # Dirichlet(1): mean 1/m, variance (m - 1) / (m^2 (m + 1))
    torch.testing.assert_close(points.mean(0), torch.full((members,), 1 / members).double(), atol=6e-3, rtol=0)
    variance = (members - 1) / (members**2 * (members + 1))
    torch.testing.assert_close(points.var(0), torch.full((members,), variance).double(), atol=0, rtol=0.04)


def test_on_a_segment_every_part_gets_one_point():
    second = inside(2, 10, stream())[:, 1]
    assert (second * 10).floor().tolist() == list(range(10))


def test_rays_leave_at_the_boundary_farther_than_their_second_point():
    starts, ends = rays(4, 100, stream())
    assert (ends.min(1).values == 0).all() and (starts.min(1).values > 0).all()
    torch.testing.assert_close(ends.sum(1), torch.ones(100, dtype=torch.float64))
    goals = starts.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)  # the second point of one is the first of its twin
    along, way = (ends - starts), (goals - starts)
    reach = along.norm(dim=1) / way.norm(dim=1)
    assert (reach >= 1).all()
    torch.testing.assert_close(along, reach[:, None] * way)


def test_on_a_segment_rays_leave_at_the_ends_as_often_at_one_as_at_the_other():
    starts, ends = rays(2, 50, stream())
    assert sorted(map(tuple, ends.tolist())) == [(0.0, 1.0)] * 25 + [(1.0, 0.0)] * 25
    assert starts.min() > 0


def test_a_known_exit():
    start, goal = torch.tensor([[0.5, 0.25, 0.25]]).double(), torch.tensor([[0.3, 0.45, 0.25]]).double()
    torch.testing.assert_close(exits(start, goal), torch.tensor([[0.0, 0.75, 0.25]]).double())


def test_going_on_goes_as_far_as_asked_in_the_metric_of_the_weights():
    members = torch.randn(3, 7, generator=stream(), dtype=torch.float64)
    apart = members - members[0]
    starts, ends = rays(3, 20, stream(1))
    lengths = torch.linspace(0.5, 3, 20, dtype=torch.float64)
    points = beyond(starts, ends, lengths, apart @ apart.T) @ members
    torch.testing.assert_close((points - ends @ members).norm(dim=1), lengths)
    torch.testing.assert_close(
        (points - starts @ members).norm(dim=1), lengths + ((ends - starts) @ members).norm(dim=1)
    )


def test_half_normal_lengths():
    drawn = half_normal(4000, stream())
    assert (drawn > 0).all()
    assert float(drawn.mean()) == pytest.approx(math.sqrt(2 / math.pi), abs=2e-3)
    assert float(drawn.square().mean()) == pytest.approx(1, abs=1e-2)
    assert drawn[:-1].gt(drawn[1:]).any()  # in no order
