import math

import numpy as np
import pytest
import torch

from bequest.evaluation.hsic import gram_vector, hsic1, linear_cka


def notebook():
    """The data of google-research's representation_similarity/Demo.ipynb."""
    random = np.random.RandomState(1337)
    x = random.randn(100, 10)
    y = random.randn(100, 10) + x
    return torch.from_numpy(x), torch.from_numpy(y)


def songs_hsic1(k, l):  # noqa: E741
    """The formula as it is printed."""
    n, one = len(k), torch.ones(len(k), dtype=torch.float64)
    k, l = k - torch.diag(k.diagonal()), l - torch.diag(l.diagonal())  # noqa: E741
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return float((torch.trace(k @ l) + middle - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3)))


def test_the_notebook_s_numbers():
    x, y = notebook()
    assert linear_cka(x, y, estimator="biased") == pytest.approx(0.55761, abs=1e-5)
    assert linear_cka(x, y, estimator="unbiased") == pytest.approx(0.51346, abs=1e-5)


@pytest.mark.parametrize(
    ("n", "d", "biased", "debiased"),
    [
        (50, 50, 0.5197, 0.0234),
        (50, 500, 0.9092, 0.0109),
        (50, 5000, 0.9897, -0.0089),
        (500, 50, 0.0898, -0.0016),
        (500, 500, 0.4992, -0.0045),
    ],
)
def test_independent_features_look_alike_to_the_biased_estimate_only(n, d, biased, debiased):
    random = np.random.RandomState(0)
    x, y = torch.from_numpy(random.randn(n, d)), torch.from_numpy(random.randn(n, d))
    assert linear_cka(x, y, estimator="biased") == pytest.approx(biased, abs=6e-5)
    assert linear_cka(x, y) == pytest.approx(debiased, abs=6e-5)


@pytest.mark.parametrize("n", [4, 5, 30])
def test_u_centring_is_song_s_formula(n):
    generator = torch.Generator().manual_seed(n)
    x, y = (torch.randn(n, 7, generator=generator, dtype=torch.float64) + 3 for _ in range(2))
    assert hsic1(x @ x.T, y @ y.T) == pytest.approx(songs_hsic1(x @ x.T, y @ y.T), rel=1e-9, abs=1e-9)


def test_rotation_and_scale_do_not_matter_and_other_maps_do():
    x, y = notebook()
    generator = torch.Generator().manual_seed(0)
    rotation, stretched = torch.linalg.qr(torch.randn(10, 10, generator=generator, dtype=torch.float64))
    for estimator in ("unbiased", "biased"):
        before = linear_cka(x, y, estimator=estimator)
        assert linear_cka(x, 1e-3 * y @ rotation + 5, estimator=estimator) == pytest.approx(before, abs=1e-10)
        assert abs(linear_cka(x, y @ stretched, estimator=estimator) - before) > 0.01


@pytest.mark.parametrize("mean", [0.0, 10.0, 100.0, 1000.0])
def test_a_large_mean_does_not_cancel_in_float32(mean):
    x, y = (features.float() + mean for features in notebook())
    assert linear_cka(x, y) == pytest.approx(linear_cka(x.double(), y.double()), abs=1e-4)
    assert linear_cka(x - mean, y) == pytest.approx(0.51346, abs=1e-3)


def test_the_smallest_features_count_and_constant_ones_have_no_similarity():
    x, y = notebook()
    assert linear_cka(1e-3 * x.float(), x.float()) == pytest.approx(1.0, abs=1e-6)
    for constant in (torch.zeros(100, 3), torch.full((100, 3), 0.1), torch.full((100, 3), 1e4)):
        assert math.isnan(linear_cka(constant, y))


def test_layouts_and_precisions_agree():
    features = torch.randn(12, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    wanted = gram_vector(features, "unbiased")
    last = features.to(memory_format=torch.channels_last)
    torch.testing.assert_close(gram_vector(last, "unbiased"), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gram_vector(features.double(), "unbiased"), wanted, rtol=1e-4, atol=1e-4)
    assert gram_vector(features.half(), "unbiased").dtype == torch.float64
    assert gram_vector(features[:, 0, 0, 0], "biased").shape == (12 * 13 // 2,)


def test_too_few_or_unequal_examples_and_unknown_estimators_are_refused():
    with pytest.raises(ValueError, match="at least 4"):
        hsic1(torch.ones(3, 3), torch.ones(3, 3))
    with pytest.raises(ValueError, match="same examples"):
        linear_cka(torch.ones(5, 2), torch.ones(6, 2))
    with pytest.raises(ValueError, match="no estimator 'rbf'"):
        linear_cka(torch.ones(5, 2), torch.ones(5, 2), estimator="rbf")
