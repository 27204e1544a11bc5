from types import SimpleNamespace

import pytest
import torch

from bequest.evaluation.tasks import Tally, task


def test_classification_has_the_known_loss_and_error():
    outputs = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    targets = torch.tensor([0, 1, 1, 0])
    right, wrong = torch.log1p(torch.exp(torch.tensor(-2.0))), torch.log1p(torch.exp(torch.tensor(2.0)))
    measured = task("classification")
    assert float(measured.loss(outputs, targets)) == pytest.approx(float((3 * right + wrong) / 4))
    assert measured.error(outputs, targets) == 0.25


def test_logits_are_unwrapped_and_half_precision_is_widened():
    outputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(8) % 3
    measured = task("classification")
    wrapped = SimpleNamespace(logits=outputs)
    assert torch.equal(measured.loss(wrapped, targets), measured.loss(outputs, targets))
    assert measured.loss(outputs.bfloat16(), targets).dtype == torch.float32


def test_soft_targets_count_by_their_largest_share():
    outputs = torch.tensor([[3.0, 0.0], [3.0, 0.0]])
    assert task("classification").error(outputs, torch.tensor([[0.6, 0.4], [0.3, 0.7]])) == 0.5


def test_uneven_batches_give_the_mean_over_examples():
    generator = torch.Generator().manual_seed(1)
    outputs, targets = torch.randn(103, 4, generator=generator), torch.randint(0, 4, (103,), generator=generator)
    tally = Tally(task("classification"))
    for start in range(0, 103, 10):
        tally.add(outputs[start : start + 10], targets[start : start + 10])
    loss, error = tally.means()
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(outputs.double(), targets)), abs=1e-6)
    assert error == float((outputs.argmax(1) != targets).double().mean())
    assert tally.n == 103


def test_a_loss_of_ones_own_is_its_own_error():
    def squared(outputs, targets):
        return (outputs - targets).pow(2).mean()

    measured = task(squared)
    assert measured.name == "squared"
    outputs, targets = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0])
    assert float(measured.loss(outputs, targets)) == measured.error(outputs, targets) == 5.0
    assert task(measured) is measured


def test_an_unknown_task_names_the_known_one():
    with pytest.raises(ValueError, match=r"no task 'clasification'.*nearest: 'classification'"):
        task("clasification")


def test_nothing_measured_is_refused():
    with pytest.raises(ValueError, match="no examples"):
        Tally(task("classification")).means()


@pytest.mark.parametrize(
    "targets", [torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.0, torch.nan]] * 2), torch.tensor([1.0, 0.0])]
)
def test_labels_of_several_classes_are_no_classification(targets):
    measured = task("classification")
    for number in (measured.loss, measured.error):
        with pytest.raises(ValueError, match="take task='multilabel'"):
            number(torch.zeros(2, 2), targets)
