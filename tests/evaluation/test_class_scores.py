"""The vectors are those of the published code (thuml/LogME and tllib), the twins loops over the definitions."""

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from bequest.evaluation.class_scores import h_score, leep, nce, shrinkage
from bequest.evaluation.taken_apart import take_apart

P = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]], dtype=torch.float64)
Y = torch.tensor([0, 0, 1, 1])


def drawn(signal=False, n=60, d=8, classes=3, seed=0):
    targets = np.arange(n) % classes
    features = np.random.RandomState(seed).randn(n, d)
    if signal:
        features[:, :classes] += 3 * np.eye(classes)[targets]
    return torch.from_numpy(features), torch.from_numpy(targets)


def test_vectors():
    assert leep(P, Y) == pytest.approx(-0.456577, abs=1e-6)
    assert nce(P.argmax(1), Y) == 0
    assert h_score(take_apart(drawn()[0]), drawn()[1]) == pytest.approx(0.319040, abs=1e-6)
    assert h_score(take_apart(drawn(True)[0]), drawn(True)[1]) == pytest.approx(1.623079, abs=1e-6)


def test_leep_by_loops():
    generator = torch.Generator().manual_seed(1)
    theta = torch.rand(30, 7, generator=generator, dtype=torch.float64)
    theta /= theta.sum(1, keepdim=True)
    targets = torch.randint(0, 4, (30,), generator=generator)
    total = 0.0
    for i in range(30):
        likelihood = 0.0
        for z in range(7):
            mass = sum(float(theta[j, z]) for j in range(30))
            same = sum(float(theta[j, z]) for j in range(30) if targets[j] == targets[i])
            likelihood += same / mass * float(theta[i, z])
        total += math.log(likelihood)
    assert leep(theta, targets) == pytest.approx(total / 30, abs=1e-12)


def test_leep_of_nothing_known_is_that_of_the_classes_and_empty_source_classes_do_not_matter():
    assert leep(torch.full((10, 5), 0.2), torch.arange(10) % 2) == pytest.approx(-math.log(2))
    assert leep(torch.cat([P, torch.zeros(4, 2)], 1), Y) == pytest.approx(leep(P, Y), abs=1e-12)
    with pytest.raises(ValueError, match="rows sum to 1"):
        leep(2 * P, Y)


def test_nce_is_the_conditional_entropy():
    sources, targets = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([3, 3, 3, 5, 5, 3])
    expected = (4 / 6) * (0.75 * math.log(0.75) + 0.25 * math.log(0.25)) + (2 / 6) * math.log(0.5)
    assert nce(sources, targets) == pytest.approx(expected)
    # the first choices are a coarse form of the probabilities: all on one class, LEEP is the same number
    assert leep(torch.nn.functional.one_hot(sources).double(), targets) == pytest.approx(expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_h_score_is_the_trace_of_the_definition(seed):
    features, targets = drawn(True, n=50, d=6, classes=4, seed=seed)
    f, y = features.numpy(), targets.numpy()
    g = np.stack([f[y == one].mean(0) for one in y])
    covariances = np.cov(f, rowvar=False, ddof=0), np.cov(g, rowvar=False, ddof=0)
    expected = np.trace(np.linalg.pinv(covariances[0]) @ covariances[1])
    assert h_score(take_apart(features), targets) == pytest.approx(expected, abs=1e-10)
    fitted = LedoitWolf().fit(f)
    assert shrinkage(take_apart(features)) == pytest.approx(fitted.shrinkage_, abs=1e-10)
    shrunk = np.trace(np.linalg.inv(fitted.covariance_) @ ((1 - fitted.shrinkage_) * covariances[1]))
    assert h_score(take_apart(features), targets, shrunk=True) == pytest.approx(shrunk, abs=1e-10)


def test_with_more_features_than_examples_the_h_score_says_nothing_and_the_shrunk_one_does():
    noise, targets = drawn(n=20, d=50, classes=2, seed=1)
    better = noise.clone()
    better[:, 0] += 6.0 * targets
    assert h_score(take_apart(noise), targets) == pytest.approx(1, abs=1e-9)
    assert h_score(take_apart(better), targets) == pytest.approx(1, abs=1e-9)
    low, high = (h_score(take_apart(f), targets, shrunk=True) for f in (noise, better))
    assert low < high - 0.2
    wide = LedoitWolf().fit(noise.numpy())
    assert shrinkage(take_apart(noise)) == pytest.approx(wide.shrinkage_, abs=1e-10)
