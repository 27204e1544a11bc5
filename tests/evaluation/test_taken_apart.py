import pytest
import torch

from bequest.evaluation.taken_apart import take_apart


def drawn(n, d, seed=0, level=2.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + level


@pytest.mark.parametrize(("n", "d", "rank"), [(30, 6, 6), (8, 20, 7), (12, 12, 11)])
def test_the_parts_make_the_features_again(n, d, rank):
    features = drawn(n, d)
    parts = take_apart(features.float())
    wide = features.float().double()
    assert (parts.examples, parts.width, len(parts.values)) == (n, d, rank)
    torch.testing.assert_close(parts.mean + parts.points @ parts.right, wide)
    torch.testing.assert_close(parts.placed(wide), parts.points)
    torch.testing.assert_close(parts.left.mean(0), torch.zeros(rank, dtype=torch.float64))


@pytest.mark.parametrize(("n", "d"), [(30, 6), (8, 20)])
def test_uncentred_parts_are_those_of_the_features_as_they_are(n, d):
    features = drawn(n, d)
    left, values = take_apart(features).uncentred
    expected = torch.linalg.svdvals(features)
    torch.testing.assert_close(values, expected[: len(values)])
    assert len(values) == min(n, d)
    torch.testing.assert_close(left @ left.T @ features, features)
    torch.testing.assert_close((left.T @ features).norm(dim=1), values)


def test_directions_without_variation_are_left_out():
    features = torch.cat([drawn(10, 3), torch.full((10, 2), 7.0)], 1)
    assert len(take_apart(features).values) == 3
    flat = take_apart(torch.full((5, 4), 3.3, dtype=torch.float32))
    assert len(flat.values) == 0
    assert flat.uncentred[1].tolist() == pytest.approx([3.3 * 20**0.5])
    assert len(take_apart(torch.zeros(5, 4)).uncentred[1]) == 0


def test_what_cannot_be_taken_apart_is_refused():
    with pytest.raises(ValueError, match=r"at least two examples, not \[1, 4\]"):
        take_apart(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="not finite"):
        take_apart(torch.tensor([[0.0], [float("nan")]]))
