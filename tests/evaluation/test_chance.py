import pytest
import torch

from bequest.evaluation.chance import chance_accuracy, chance_rows
from bequest.evaluation.tasks import task


def test_guessing_in_each_task():
    classes = [(torch.zeros(3, 1), torch.tensor([0, 1, 1])), (torch.zeros(1, 1), torch.tensor([2]))]
    assert chance_accuracy(classes) == (0.5, 4)
    labels = [(torch.zeros(2, 1), torch.tensor([[0.0, 1.0], [1.0, 1.0]]))]
    assert chance_accuracy(labels, "multilabel") == (0.5, 2)
    tokens = [
        (torch.zeros(1, 3), torch.tensor([[1, 2, 2]])),
        (torch.zeros(1, 5), torch.tensor([[1, 2, 3, -100, -100]])),
    ]
    assert chance_accuracy(tokens, "language-modelling") == (0.75, 2)


def test_rows_count_the_classes_without_an_auroc():
    labels = [(torch.zeros(2, 1), torch.tensor([[0.0, 1.0], [1.0, 1.0]]))]
    rows = chance_rows(labels, task("multilabel"), "test")
    assert [(row["metric"], row["value"], row["split"]) for row in rows] == [
        ("chance_accuracy", 0.5, "test"),
        ("classes_left_out", 1.0, "test"),
    ]


def test_of_ones_own_loss_nothing_is_known():
    own = task(lambda outputs, targets: outputs.mean())
    batches = [(torch.zeros(2, 1), torch.zeros(2))]
    assert chance_rows(batches, own) == []
    with pytest.raises(ValueError, match="is not known"):
        chance_accuracy(batches, own)
