import pytest
import torch
from sklearn.linear_model import Ridge

from bequest.evaluation.feature_classifiers import PENALTIES, linear_probe, nearest_neighbours
from bequest.evaluation.taken_apart import take_apart


def drawn(n=24, d=5, seed=0, signal=1.0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    features = torch.randn(n, d, generator=generator, dtype=torch.float64)
    features[torch.arange(n), targets] += signal
    return features, targets


@pytest.mark.parametrize(("n", "d"), [(24, 5), (12, 20)])
def test_the_probe_left_one_out_is_the_probe_fitted_without_it(n, d):
    features, targets = drawn(n, d)
    truth = torch.nn.functional.one_hot(targets).double()
    parts = take_apart(features)
    best = None
    for penalty in (PENALTIES * (parts.values**2).mean()).tolist():
        answers = []
        for i in range(n):
            rest = [j for j in range(n) if j != i]
            fitted = Ridge(alpha=penalty).fit(features[rest].numpy(), truth[rest].numpy())
            answers.append(torch.from_numpy(fitted.predict(features[i : i + 1].numpy())[0]))
        found = torch.stack(answers)
        error = float(((found - truth) ** 2).sum())
        if best is None or error < best[0]:
            best = error, found, penalty
    torch.testing.assert_close(linear_probe(parts, targets), best[1], atol=1e-6, rtol=1e-6)
    other = drawn(7, d, seed=5)[0]
    whole = Ridge(alpha=best[2]).fit(features.numpy(), truth.numpy()).predict(other.numpy())
    torch.testing.assert_close(linear_probe(parts, targets, other), torch.from_numpy(whole), atol=1e-8, rtol=1e-6)


def test_neighbours_by_loops():
    features, targets = drawn(20, 30, signal=2.0)
    parts = take_apart(features)
    tried = drawn(6, 30, seed=3)[0]
    for asking, own in ((features, True), (tried, False)):
        found = nearest_neighbours(parts, targets, None if own else tried, k=3)
        for i, point in enumerate(asking):
            order = sorted((float((point - one).norm()), j) for j, one in enumerate(features) if not (own and i == j))
            votes = [targets[j].item() for _, j in order[:3]]
            winner = max(set(votes), key=lambda label: (votes.count(label), -votes.index(label)))
            assert int(found[i].argmax()) == winner
            assert found[i].tolist() == pytest.approx([votes.count(label) / 3 for label in range(3)], abs=1e-5)


def test_few_examples_have_few_neighbours():
    features, targets = drawn(3, 4)
    assert nearest_neighbours(take_apart(features), targets, k=5).shape == (3, 3)


def test_labels_are_columns():
    features, targets = drawn(signal=3.0)
    labels = torch.nn.functional.one_hot(targets).float()
    parts = take_apart(features)
    torch.testing.assert_close(linear_probe(parts, labels), linear_probe(parts, targets))
    torch.testing.assert_close(nearest_neighbours(parts, labels), nearest_neighbours(parts, targets))
