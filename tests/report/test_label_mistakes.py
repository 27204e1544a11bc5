import math

import numpy as np
import pytest
import torch

from bequest.data.pack import Packed
from bequest.evaluation.predict import Predictions
from bequest.report.gathering import _label_mistakes, _pictures

NAN = float("nan")
TARGETS = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [NAN, 1.0]])


def packed():
    names = list("abcd")
    pixels = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    splits = ["train", "test", "test", "test"]
    return Packed(pixels, TARGETS, names, names, splits, ("red", "blue"), "nobody", "csv:x")


def test_an_image_of_each_label_is_shown():
    assert [(one.domain, one.label) for one in _pictures(packed())] == [("csv:x", "red")]  # train has no blue


def test_a_label_that_one_arm_gets_wrong_and_the_other_right_is_shown_with_what_was_said():
    tuned = torch.tensor([[2.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    fresh = torch.tensor([[-1.0, -1.0], [-2.0, 1.0], [-1.0, 1.0]])
    given = {
        name: Predictions(outputs, TARGETS[1:]) for name, outputs in (("finetune/0", tuned), ("randinit/0", fresh))
    }
    [found] = _label_mistakes(given, packed(), "x")  # the missing label of d is nobody's mistake
    assert (found.group, found.truth, found.target) == ("every randinit wrong, every finetune right", "red", "x")
    assert (found.pixels == 1).all()
    assert [(one.run, one.label) for one in found.answers] == [("finetune/0", "red"), ("randinit/0", "no red")]
    assert found.answers[1].confidence == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-6)
