import math

import pytest
import torch
from sklearn.mixture import GaussianMixture

from bequest.evaluation.gaussian_mixture import Mixture, fit_mixture

CENTRES = torch.tensor([[0.0, 0.0, 0.0], [6.0, 0.0, 1.0], [0.0, 6.0, -1.0]], dtype=torch.float64)


def clouds(a_cloud=40, seed=0, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    owners = torch.arange(3 * a_cloud) % 3
    return CENTRES[owners] + spread * torch.randn(3 * a_cloud, 3, generator=generator, dtype=torch.float64), owners


def test_joint_is_the_log_density_by_loops():
    mixture = Mixture(torch.tensor([0.3, 0.7]).double(), CENTRES[:2], torch.tensor([[1.0, 2, 3], [0.5, 1, 4]]).double())
    points, _ = clouds(2)
    for i, point in enumerate(points):
        for z in range(2):
            expected = math.log(mixture.weights[z])
            for j in range(3):
                variance = float(mixture.variances[z, j])
                away = float(point[j] - mixture.means[z, j])
                expected -= away**2 / (2 * variance) + math.log(2 * math.pi * variance) / 2
            assert float(mixture.joint(points)[i, z]) == pytest.approx(expected)
    torch.testing.assert_close(
        mixture.posterior(points), mixture.joint(points).exp() / mixture.joint(points).exp().sum(1, keepdim=True)
    )


def test_planted_groups_are_found_and_scikit_learn_finds_the_same_likelihood():
    points, owners = clouds(spread=0.7)
    mixture = fit_mixture(points, 3)
    groups = mixture.posterior(points).argmax(1)
    assert all(len(groups[owners == cloud].unique()) == 1 for cloud in range(3)) and len(groups.unique()) == 3
    other = GaussianMixture(3, covariance_type="diag", random_state=0, tol=1e-6).fit(points.numpy())
    mine = float(mixture.joint(points).logsumexp(1).mean())
    assert mine == pytest.approx(other.score(points.numpy()), abs=5e-3)
    assert float(mixture.weights.sum()) == pytest.approx(1)


def test_the_seed_decides_and_equal_points_are_borne():
    points, _ = clouds(spread=3.0)
    assert torch.equal(fit_mixture(points, 5, seed=1).means, fit_mixture(points, 5, seed=1).means)
    flat = fit_mixture(torch.ones(6, 2), 3).posterior(torch.ones(6, 2).double())
    assert bool(flat.isfinite().all()) and torch.allclose(flat.sum(1), torch.ones(6).double())


def test_more_components_than_points_are_refused():
    with pytest.raises(ValueError, match="7 components need as many points; got 6"):
        fit_mixture(torch.randn(6, 2), 7)
