import numpy as np
import pytest
import torch

from bequest.evaluation.label_decisions import cells_by_example, label_decisions, resampled

NAN = float("nan")
TARGETS = torch.tensor([[1.0, NAN], [0.0, 1.0], [NAN, NAN]])


def test_missing_labels_are_no_decisions_and_one_half_is_the_threshold():
    found = label_decisions(torch.zeros(3, 2), TARGETS)
    assert found.truth.tolist() == [1, 0, 1]
    assert found.classes.tolist() == [0, 0, 1] and found.examples.tolist() == [0, 1, 1]
    assert found.of(torch.tensor([[0.1, 9.0], [-0.1, 0.0], [5.0, 5.0]])).tolist() == [1, 0, 0]


def test_cells_are_counted_by_example():
    wrong = np.array([[True, False, True], [True, True, False]])
    cells = cells_by_example(wrong, np.array([4, 7, 7]), [(0, 1)])
    assert cells[..., 0].tolist() == [[1, 0, 0, 0], [0, 1, 1, 0]]


def test_resampling_keeps_examples_whole():
    values = np.array([[1.0, 2.0], [3.0, 6.0], [3.0, 6.0]])
    drawn = resampled(values, seed=0, draws=250)
    assert drawn.shape == (250, 2)
    assert np.array_equal(drawn[:, 1], 2 * drawn[:, 0])
    assert set(drawn[:, 0]) == {3.0, 5.0, 7.0, 9.0}
    assert drawn[:, 0].mean() == pytest.approx(7, abs=0.3)


def test_nothing_to_decide_is_refused():
    with pytest.raises(ValueError, match="none of 2 examples has a label"):
        label_decisions(torch.zeros(2, 2), torch.full((2, 2), NAN))
