import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from bequest.evaluation.log_evidence import logme
from bequest.evaluation.taken_apart import take_apart


def drawn(n=60, d=8, classes=3, seed=0, signal=0.0):
    targets = np.arange(n) % classes
    features = np.random.RandomState(seed).randn(n, d)
    features[:, :classes] += signal * np.eye(classes)[targets]
    return torch.from_numpy(features), torch.from_numpy(targets)


@pytest.mark.parametrize(
    ("made", "published"),
    [
        ({}, -0.868670),
        ({"signal": 3.0}, -0.339051),
        ({"n": 20, "d": 50, "classes": 2, "seed": 1}, 2.765686),
    ],
)
def test_vectors_of_the_published_code(made, published):
    features, targets = drawn(**made)
    assert logme(take_apart(features), targets, form="published") == pytest.approx(published, abs=1e-5)


@pytest.mark.parametrize("made", [{}, {"signal": 3.0}, {"n": 20, "d": 50, "classes": 2, "seed": 1}, {"n": 9, "d": 9}])
def test_it_is_the_largest_density_of_the_targets_under_the_linear_model(made):
    """Brute force: y is normal with covariance F F' / alpha + I / beta; search for alpha and beta."""
    features, targets = drawn(**made)
    f, found = features.numpy(), []
    for label in np.unique(targets.numpy()):
        y = (targets.numpy() == label).astype(float)

        def missed(logs, y=y):
            alpha, beta = np.exp(np.clip(logs, -25, 25))
            covariance = f @ f.T / alpha + np.eye(len(f)) / beta
            size = np.linalg.slogdet(covariance)[1] + len(f) * math.log(2 * math.pi)
            return (y @ np.linalg.solve(covariance, y) + size) / 2

        starts = [(0.0, 1.0), (6.0, 1.0)]
        best = min((minimize(missed, start, method="Nelder-Mead", tol=1e-8) for start in starts), key=lambda r: r.fun)
        found.append(-best.fun / len(f))
    assert logme(take_apart(features), targets) == pytest.approx(np.mean(found), abs=2e-6)


def test_the_published_form_is_below_the_maximum_where_its_terms_are_complete_and_flatters_width_where_not():
    features, targets = drawn()
    assert logme(take_apart(features), targets, form="published") < logme(take_apart(features), targets)
    noise, targets = drawn(n=20, d=50, classes=2, seed=1)
    assert logme(take_apart(noise), targets) == pytest.approx(-1.072365, abs=1e-5)
    wider = torch.cat([noise, torch.zeros(20, 100, dtype=torch.float64)], 1)
    assert logme(take_apart(wider), targets) == pytest.approx(logme(take_apart(noise), targets), abs=1e-9)
    assert logme(take_apart(wider), targets, form="published") > 2 * logme(take_apart(noise), targets, form="published")


def test_no_features_at_all_leave_noise_alone():
    targets = torch.arange(12) % 2
    assert logme(take_apart(torch.zeros(12, 3)), targets) == pytest.approx(
        -(math.log(0.5) + 1 + math.log(2 * math.pi)) / 2
    )


def test_labels_are_regressions_of_their_own_and_those_that_do_not_vary_are_left_out():
    features, targets = drawn()
    labels = torch.nn.functional.one_hot(targets).float()
    expected = logme(take_apart(features), targets)
    assert logme(take_apart(features), labels) == pytest.approx(expected, abs=1e-12)
    assert logme(take_apart(features), torch.cat([labels, torch.ones(60, 1)], 1)) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="no label varies"):
        logme(take_apart(features), torch.ones(60, 2))
    with pytest.raises(ValueError, match="no form 'fast'"):
        logme(take_apart(features), targets, form="fast")


def test_it_does_not_change_when_the_features_are_turned_or_scaled():
    features, targets = drawn(signal=1.0)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    expected = logme(take_apart(features), targets)
    assert logme(take_apart(features @ turn), targets) == pytest.approx(expected, abs=1e-10)
    assert logme(take_apart(1e4 * features), targets) == pytest.approx(expected, abs=1e-10)
