import math

import pytest
import torch

from bequest.evaluation.class_scores import leep
from bequest.evaluation.features import Features
from bequest.evaluation.taken_apart import take_apart
from bequest.evaluation.transferability import ONE_CLASS, SCORES, nleep, transferability


def seen(signal=1.5, n=60, d=8, classes=3, seed=0):
    """Features with a place for each class, and a source head of five classes that knows the first two."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % classes
    features = torch.randn(n, d, generator=generator, dtype=torch.float64)
    features[torch.arange(n), targets] += signal
    outputs = torch.cat([features[:, :2], torch.zeros(n, 3)], 1)
    return Features(features, outputs, targets)


def test_every_score_prefers_features_that_tell_the_classes():
    trained = torch.nn.functional.one_hot(seen().targets).double()
    low, high = (transferability(seen(signal), reference=trained) for signal in (0.0, 5.0))
    assert list(low) == list(high) == list(SCORES)
    assert all(low[name] < high[name] for name in SCORES)
    assert high["probe"] > 0.95 and high["knn"] > 0.95 and low["probe"] < 0.6


def test_features_may_be_turned_and_examples_put_in_another_order():
    one = seen()
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64))[0]
    order = torch.randperm(60, generator=torch.Generator().manual_seed(4))
    trained = torch.nn.functional.one_hot(one.targets).double()
    expected = transferability(one, reference=trained)
    turned = transferability(Features(one.features @ turn, one.outputs, one.targets), reference=trained)
    assert turned == pytest.approx(expected, abs=1e-9)
    permuted = Features(one.features[order], one.outputs[order], one.targets[order])
    moved = transferability(permuted, reference=trained[order])
    same = set(SCORES) - {"nleep"}  # its mixture begins at examples that are drawn by their number
    assert {name: moved[name] for name in same} == pytest.approx({name: expected[name] for name in same}, abs=1e-9)


def test_cka_with_itself_is_one():
    assert transferability(seen(), reference=seen().features, scores=["cka"]) == pytest.approx({"cka": 1.0})


def test_nleep_is_leep_of_the_groups_and_at_best_nothing_is_left_to_tell():
    far = seen(signal=30.0)
    assert nleep(take_apart(far.features), far.targets) == pytest.approx(0, abs=1e-3)
    assert -math.log(3) - 0.01 < nleep(take_apart(seen(0.0).features), far.targets) < 0


def test_held_out_examples_are_the_ones_that_are_answered():
    other = seen(signal=5.0, n=30, seed=9)
    wrong = Features(other.features, other.outputs, (other.targets + 1) % 3)
    good = transferability(seen(5.0), held_out=other, scores=["probe", "knn"])
    bad = transferability(seen(5.0), held_out=wrong, scores=["probe", "knn"])
    assert all(good[name] > 0.9 and bad[name] < 0.1 for name in good)


def test_class_numbers_need_not_be_close_together():
    one = seen(3.0)
    apart = Features(one.features, one.outputs, 10 * one.targets + 7)
    assert transferability(apart) == transferability(one)


def test_features_that_do_not_vary_have_the_scores_of_knowing_nothing():
    one = seen()
    flat = Features(torch.ones(60, 8).double(), torch.zeros(60, 5).double(), one.targets)
    found = transferability(flat, reference=one.features)
    assert all(math.isfinite(value) for value in found.values())
    assert (found["h_score"], found["h_score_shrunk"], found["cka"]) == (0, 0, 0)
    for name in ("leep", "nce", "nleep"):
        assert found[name] == pytest.approx(-math.log(3))
    assert found["probe"] <= 0.5 and found["knn"] <= 0.5


def test_several_labels():
    one = seen(5.0)
    labels = Features(one.features, one.outputs, torch.nn.functional.one_hot(one.targets).float())
    found = transferability(labels)
    assert set(found) == {"logme", "probe", "knn"}
    assert found["probe"] > 0.95
    for name in ONE_CLASS:
        with pytest.raises(ValueError, match=f"'{name}' needs one class an example"):
            transferability(labels, scores=[name])
    missing = labels.targets.clone()
    missing[0, 0] = torch.nan
    with pytest.raises(ValueError, match="without missing ones"):
        transferability(Features(one.features, one.outputs, missing))


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="no score 'logmee'; the nearest is 'logme'"):
        transferability(seen(), scores=["logmee"])
    with pytest.raises(ValueError, match="'cka' needs reference="):
        transferability(seen(), scores=["cka"])
    with pytest.raises(ValueError, match="reference= has 3 examples and the features 60"):
        transferability(seen(), reference=torch.zeros(3, 2))
    one = seen()
    with pytest.raises(ValueError, match="at least two classes"):
        transferability(Features(one.features, one.outputs, torch.zeros(60, dtype=torch.int64)))


def test_the_source_head_is_read_as_probabilities():
    one = seen()
    assert transferability(one, scores=["leep"])["leep"] == leep(one.outputs.softmax(1), one.targets)
