"""A pace is of real work: slower networks are slower, and the caller's random numbers stay."""

import time

import pytest
import torch
from torch import nn

from bequest.evaluation.tasks import task
from bequest.training.recipe import Recipe
from bequest.training.timing import pace


class Sleeping(nn.Module):
    """A network whose forward pass takes a known time."""

    def __init__(self, seconds):
        super().__init__()
        self.fc = nn.Linear(3 * 8 * 8, 3)
        self.seconds, self.passes = seconds, 0

    def forward(self, x):
        time.sleep(self.seconds)
        self.passes += 1
        return self.fc(x.flatten(1))


@pytest.mark.parametrize("name", ["classification", "multilabel"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_network_that_sleeps_takes_what_it_sleeps(name, optimizer):
    recipe = Recipe(optimizer=optimizer, mixup=0.2, augmentation="crop+flip", warmup=0.5)
    model = Sleeping(0.02)
    before = torch.random.get_rng_state()
    found = pace(
        model, recipe, task=task(name), size=8, classes=3, batch=4, shown=10, seconds=0.1
    )  # fmt: skip
    assert found.learn >= 0.02 / 4
    assert found.measure >= 0.02 / 10
    assert found.write > 0
    slots = {"sgd": 1, "adamw": 2}[optimizer]
    assert found.state_bytes == pytest.approx((2 + slots) * 4 * 3 * (3 * 8 * 8 + 1), rel=0.2)  # and a header
    assert torch.equal(torch.random.get_rng_state(), before)


def test_one_round_is_enough_where_it_takes_longer_than_allowed():
    slow = Sleeping(0.03)
    pace(slow, Recipe(), task=task("classification"), size=8, classes=3, batch=2, shown=2, seconds=0.01)
    assert slow.passes == 2  # one that learned, one that measured
