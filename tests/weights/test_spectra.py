import math

import numpy as np
import pytest
import torch

from bequest.weights.spectra import as_matrix, decompose, effective_rank, overlap, stable_rank


def matrix(m, n, seed=0):
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(n, seed=1):
    return torch.linalg.qr(matrix(n, n, seed)).Q


def test_a_convolution_is_a_matrix_of_outputs_by_everything_else():
    kernel = matrix(4, 18).float().view(4, 2, 3, 3)
    assert torch.equal(as_matrix(kernel), kernel.double().reshape(4, 18))
    assert as_matrix(torch.zeros(5)) is None
    assert as_matrix(torch.zeros(1, 7, 3)) is None  # a position embedding
    assert as_matrix(torch.zeros(6, 1)) is None
    assert as_matrix(torch.zeros(3, 3, dtype=torch.int64)) is None


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (5, 5)])
def test_equal_to_numpy(shape):
    given = matrix(*shape)
    found = decompose(given, top=2)
    left, values, right = np.linalg.svd(given.numpy(), full_matrices=False)
    np.testing.assert_allclose(found.values.numpy(), values, rtol=1e-12)
    np.testing.assert_allclose(found.left.numpy() @ found.left.numpy().T, left[:, :2] @ left[:, :2].T, atol=1e-12)
    np.testing.assert_allclose(found.right.numpy() @ found.right.numpy().T, right[:2].T @ right[:2], atol=1e-12)
    assert stable_rank(found.values) == pytest.approx((given**2).sum().item() / np.linalg.norm(given.numpy(), 2) ** 2)


def test_known_ranks():
    known = rotation(8, 2)[:, :3] @ rotation(9, 3)[:, :3].T  # three singular values of 1
    values = decompose(5 * known, top=8).values
    assert stable_rank(values) == pytest.approx(3)
    assert effective_rank(values) == pytest.approx(3)
    uneven = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    assert stable_rank(uneven) == pytest.approx(1.25)
    assert effective_rank(uneven) == pytest.approx(math.exp(-2 / 3 * math.log(2 / 3) - 1 / 3 * math.log(1 / 3)))
    assert stable_rank(torch.zeros(3)) is None and effective_rank(torch.zeros(3)) is None
    assert decompose(torch.zeros(4, 4, dtype=torch.float64), top=2).directions == 0
    assert decompose(matrix(8, 1) @ matrix(1, 8, 1), top=3).directions == 1


def test_large_matrices_of_float32_are_as_good_as_numpy():
    given = (matrix(96, 300) * torch.logspace(0, -4, 300, dtype=torch.float64)).float()
    for one in (given, given.T):
        found = decompose(as_matrix(one), top=4)
        left, values, right = np.linalg.svd(one.double().numpy(), full_matrices=False)
        np.testing.assert_allclose(found.values.numpy(), values, rtol=1e-5)
        assert overlap(found.left, torch.from_numpy(left[:, :4])) == pytest.approx(1, abs=1e-9)
        assert overlap(found.right, torch.from_numpy(right[:4].T)) == pytest.approx(1, abs=1e-9)
        torch.testing.assert_close(found.right.T @ found.right, torch.eye(4, dtype=torch.float64), atol=1e-9, rtol=0)


def test_rotations_move_directions_and_not_values():
    given = matrix(8, 10)
    turned = rotation(8) @ given
    a, b = decompose(given, top=3), decompose(turned, top=3)
    torch.testing.assert_close(a.values, b.values)
    assert overlap(a.right, b.right) == pytest.approx(1)
    assert overlap(rotation(8) @ a.left, b.left) == pytest.approx(1)
    assert overlap(a.left, b.left) < 0.9


def test_overlap_by_hand_and_by_chance():
    e = torch.eye(4, dtype=torch.float64)
    assert overlap(e[:, :2], e[:, 2:]) == 0
    assert overlap(e[:, :2], e[:, 1:3]) == 0.5
    angle = torch.tensor([[math.cos(0.3)], [math.sin(0.3)], [0.0], [0.0]], dtype=torch.float64)
    assert overlap(e[:, :1], angle) == pytest.approx(math.cos(0.3) ** 2)
    random = [overlap(rotation(20, i)[:, :5], rotation(20, 500 + i)[:, :5]) for i in range(200)]
    assert np.mean(random) == pytest.approx(5 / 20, abs=0.01)


def test_never_more_directions_than_half_of_the_smaller_side():
    assert decompose(matrix(6, 20), top=5).left.shape == (6, 3)
    assert decompose(matrix(2, 20), top=5).right.shape == (20, 1)
    with pytest.raises(ValueError, match="not finite"):
        decompose(torch.full((2, 2), math.nan, dtype=torch.float64), top=1)
