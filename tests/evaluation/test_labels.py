import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from bequest.evaluation.labels import auroc_error, aurocs, both_labels, label_cross_entropy
from bequest.evaluation.tasks import Tally, task

NAN = float("nan")


def drawn(n=60, classes=4, seed=0, ties=True):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, classes, generator=generator)
    labels = torch.randint(0, 2, (n, classes), generator=generator).float()
    labels[torch.rand(n, classes, generator=generator) < 0.2] = NAN
    return (scores.mul(2).round() if ties else scores), labels


@given(st.integers(0, 10**6), st.integers(12, 80), st.booleans())
@settings(deadline=None, max_examples=40)
def test_auroc_with_ties_and_missing_labels_is_that_of_scikit_learn(seed, n, ties):
    scores, labels = drawn(n, 3, seed, ties)
    found = aurocs(scores, labels)
    for place in range(3):
        known = ~labels[:, place].isnan()
        y, s = labels[known, place].numpy(), scores[known, place].numpy()
        if 0 < y.sum() < len(y):
            assert float(found[place]) == pytest.approx(roc_auc_score(y, s), abs=1e-12)
        else:
            assert found[place].isnan()


def test_the_known_areas():
    scores = torch.tensor([[0.1, 1.0, 3.0], [0.2, 1.0, 2.0], [0.3, 1.0, 1.0], [0.4, 1.0, 0.0]])
    labels = torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None].expand(4, 3)
    assert aurocs(scores, labels).tolist() == [1.0, 0.5, 0.0]
    assert auroc_error(scores, labels) == pytest.approx(0.5)


def test_a_class_with_one_label_is_left_out_and_not_called_a_half():
    scores = torch.tensor([[0.0, 5.0], [1.0, 1.0], [2.0, 3.0]])
    labels = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, NAN]])
    assert both_labels(labels).tolist() == [True, False]
    assert auroc_error(scores, labels) == 0.0
    with pytest.raises(ValueError, match="none of 2 classes has both among 1 examples"):
        auroc_error(scores[:1], labels[:1])


def test_scores_that_are_no_numbers_give_no_error_and_infinite_ones_have_ranks():
    labels = torch.tensor([[0.0], [1.0], [1.0]])
    assert torch.tensor(auroc_error(torch.tensor([[0.0], [NAN], [1.0]]), labels)).isnan()
    assert auroc_error(torch.tensor([[-torch.inf], [torch.inf], [1.0]]), labels) == 0.0


def test_the_loss_is_the_mean_over_the_labels_that_are_there():
    scores, labels = drawn()
    known = ~labels.isnan()
    plain = torch.nn.functional.binary_cross_entropy_with_logits(scores[known].double(), labels[known].double())
    assert float(label_cross_entropy(scores, labels)) == pytest.approx(float(plain), rel=1e-6)
    nothing = torch.full_like(labels, NAN)
    scores.requires_grad_()
    loss = label_cross_entropy(scores, nothing)
    loss.backward()
    assert loss.item() == 0 and not scores.grad.any()
    label_cross_entropy(scores, labels).backward()
    assert torch.equal(scores.grad != 0, known)


@pytest.mark.parametrize("sizes", [[60], [1, 7, 52], [10] * 6])
def test_batches_of_any_sizes_give_the_numbers_of_the_whole(sizes):
    scores, labels = drawn()
    tally = Tally(task("multilabel"))
    for part, truth in zip(scores.split(sizes), labels.split(sizes), strict=True):
        tally.add(part, truth)
    loss, error = tally.means()
    assert error == auroc_error(scores, labels)
    assert loss == pytest.approx(float(label_cross_entropy(scores, labels)), rel=1e-6)
    assert tally.settled().means() == (loss, error) and tally.n == 60
    with pytest.raises(ValueError, match="none of 3 examples has a target"):
        empty = Tally(task("multilabel"))
        empty.add(scores[:3], torch.full((3, 4), NAN))
        empty.means()


@pytest.mark.parametrize("targets", [torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2), torch.zeros(3)])
def test_targets_of_another_kind_are_refused(targets):
    with pytest.raises(ValueError, match=r"needs targets float \[examples, classes\]"):
        label_cross_entropy(torch.zeros(3, 4), targets)


def test_auroc_of_mixed_labels_is_refused():
    with pytest.raises(ValueError, match="0, 1 or NaN"):
        aurocs(torch.zeros(2, 1), torch.tensor([[0.3], [1.0]]))
