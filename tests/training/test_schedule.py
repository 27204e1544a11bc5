"""The learning rate of a step: warm-up, cosine, multi-step, against plain twins."""

import math

import pytest

from bequest.training.recipe import Recipe
from bequest.training.schedule import learning_rate


def rates(steps=100, **recipe):
    return [learning_rate(Recipe(**recipe), step, steps) for step in range(steps)]


def test_cosine_falls_from_the_peak_towards_zero():
    got = rates(learning_rate=0.2, warmup=0.0)
    assert got == pytest.approx([0.2 * 0.5 * (1 + math.cos(math.pi * step / 100)) for step in range(100)])


def test_warm_up_rises_linearly_to_the_peak():
    got = rates(learning_rate=1.0, warmup=0.1)
    assert got[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert got[10] == pytest.approx(1.0)
    assert max(got) == got[10]


def test_multistep_is_the_papers_at_30_60_90():
    got = rates(learning_rate=0.1, schedule="multistep", warmup=0.0)
    assert [got[step] for step in (0, 29, 30, 60, 90, 99)] == pytest.approx([0.1, 0.1, 0.01, 1e-3, 1e-4, 1e-4])


def test_constant_stays():
    assert set(rates(learning_rate=0.3, schedule="constant", warmup=0.0)) == {0.3}


@pytest.mark.parametrize("milestones", [(0.6, 0.3), (0.0, 0.5), (0.5, 0.5), (1.0,)])
def test_milestones_that_do_not_rise_within_the_training_are_refused(milestones):
    with pytest.raises(ValueError, match="milestones must rise"):
        Recipe(milestones=milestones)
