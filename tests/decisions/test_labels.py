import math

import numpy as np
import pytest

from bequest.decisions.labels import FEWER, MORE, crossing, equivalent, labels
from bequest.training.trajectory import Trajectory, metrics_table

SIZES = (4, 8, 16, 32)


def run(error, epochs=3):
    rows = [{"epoch": epochs, "split": split, "error": error} for split in ("validation", "test")]
    return Trajectory(metrics_table(rows))


def curves(tuned, fresh, replicas=3, spread=0.005, **others):
    """Shots -> runs; replica i differs by `spread * (i - 1)`, more or less so from arm to arm."""
    arms = {"finetune": tuned, "randinit": fresh, **others}
    return {
        size: {
            f"{arm}/{i}": run(curve[place] + spread * (i - (replicas - 1) / 2) * (1 + number))
            for number, (arm, curve) in enumerate(arms.items())
            for i in range(replicas)
        }
        for place, size in enumerate(SIZES)
    }


def numbers(decision, metric, x, split="test"):
    return decision.rows.filter(metric=metric, x=x, split=split).row(0, named=True)


FRESH = (0.8, 0.6, 0.4, 0.2)  # a straight line on a log scale: 0.2 less for twice the shots
TUNED = (0.5, 0.3, 0.15, 0.1)


def test_crossings_are_straight_on_a_log_scale():
    curve = np.array(FRESH)
    assert crossing(SIZES, curve, 0.5) == pytest.approx(8 * math.sqrt(2))
    assert crossing(SIZES, curve, 0.6) == pytest.approx(8)
    assert crossing(SIZES, curve, 0.2) == pytest.approx(32)
    assert crossing(SIZES, curve, 0.8) == 4
    assert crossing(SIZES, curve, 0.81) == 0
    assert crossing(SIZES, curve, 0.19) == math.inf
    bumpy = np.array([0.8, 0.4, 0.6, 0.2])  # the first time counts
    assert crossing(SIZES, bumpy, 0.4) == pytest.approx(8)
    assert crossing(SIZES, bumpy, 0.6) == pytest.approx(4 * math.sqrt(2))


def test_numbers_by_hand():
    found = labels(curves(TUNED, FRESH), spent={"seconds": 1.0, "images": 2.0})
    row = numbers(found, "equivalent_shots", 4)
    assert row["value"] == pytest.approx(8 * math.sqrt(2)) and row["n"] == 3
    assert row["low"] < row["value"] < row["high"]
    assert numbers(found, "worth", 4)["value"] == pytest.approx(2 * math.sqrt(2))
    assert numbers(found, "equivalent_shots", 8)["value"] == pytest.approx(16 * math.sqrt(2))
    more = numbers(found, "equivalent_shots", 16)
    assert more["value"] is None and (more["low"], more["high"], more["note"]) == (32, None, MORE)
    assert numbers(found, "worth", 16)["low"] == 2
    assert numbers(found, "error_difference", 32)["value"] == pytest.approx(-0.1)
    assert found.sure == "measured" and found.costs == {"seconds": 1.0, "images": 2.0}
    assert found.advice.startswith("Transfer: with 32 labels a class fine-tuning has 10.0 (")
    assert "makes 8 labels a class as good as 23 (" in found.advice and "2.8 times as many" in found.advice


def test_an_interval_by_hand():
    """Two replicas, a tenth apart in the fresh curve: half of the resamples hold both, a quarter one of them twice."""
    fresh = np.array(FRESH)[:, None] + np.array([[0.0, 0.1]])
    found, note = equivalent(SIZES, np.array([0.5, 0.5]), fresh)
    assert found.value == pytest.approx(8 * 2**0.75) and note is None
    assert (found.low, found.high) == pytest.approx((8 * math.sqrt(2), 16))
    one, _ = equivalent(SIZES, np.array([0.5]), fresh[:, :1])
    assert (one.low, one.high, one.n) == (None, None, 1)


def test_an_end_that_is_not_known_is_said():
    fresh = np.array(FRESH)[:, None] + np.array([[0.0, 0.1]])
    found, note = equivalent(SIZES, np.array([0.27, 0.27]), fresh)
    assert found.value < 32 and found.high is None and note == f"its upper end is {MORE}"
    found, note = equivalent(SIZES, np.array([0.82, 0.82]), fresh)
    assert found.value > 4 and found.low is None and note == f"its lower end is {FEWER}"


def test_worth_more_than_everything_tried():
    found = labels(curves((0.1, 0.1, 0.1, 0.1), FRESH, spread=0.001))
    assert found.sure == "measured"
    assert (
        f"even 32 labels a class ({MORE}) are not as good as 4 with it: it is worth more than 8 times" in found.advice
    )


def test_pre_training_that_harms():
    found = labels(curves((0.9, 0.85, 0.82, 0.81), FRESH, spread=0.001))
    assert found.advice.startswith("Do not transfer: with 32 labels") and found.sure == "measured"
    assert numbers(found, "equivalent_shots", 8)["note"] == FEWER
    assert f"without pre-training 4 labels a class ({FEWER}) is as good as 32 with it" in found.advice


def test_curves_that_end_alike_are_not_decided():
    found = labels(curves((0.5, 0.3, 0.25, 0.201), FRESH, spread=0.02))
    assert found.sure == "inconclusive" and found.advice.startswith("It is not sure whether to transfer")
    one = labels(curves(TUNED, FRESH, replicas=1))
    assert one.sure == "inconclusive" and "1 replica" in one.advice


def test_where_nothing_was_learned_there_is_nothing_to_decide():
    found = labels(curves((0.9, 0.9, 0.89, 0.85), (0.9, 0.9, 0.9, 0.9), spread=0.001), chance=0.1)
    assert found.sure == "inconclusive" and "the better arm is 15.0 % right on validation" in found.advice
    assert labels(curves(TUNED, FRESH), chance=0.1).sure == "measured"


def test_validation_and_test_must_agree():
    runs = curves(TUNED, FRESH)
    for name, trajectory in runs[32].items():
        if name.startswith("finetune"):
            rows = [{"epoch": 3, "split": "test", "error": 0.3}]
            kept = trajectory.metrics.filter(split="validation").to_dicts()
            runs[32][name] = Trajectory(metrics_table([*kept, *rows]))
    assert labels(runs).sure == "inconclusive"


def test_other_arms_have_curves_too():
    found = labels(curves(TUNED, FRESH, meanvar=FRESH))
    assert set(found.rows.filter(metric="error")["a"]) == {"finetune", "randinit", "meanvar"}


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"at least two sizes of the target, 1 shot or more; got \[4\]"):
        labels({4: curves(TUNED, FRESH)[4]})
    runs = curves(TUNED, FRESH)
    del runs[16]["randinit/1"]
    with pytest.raises(ValueError, match="'randinit/1' is not at 4 and 16 shots"):
        labels(runs)
    alone = {
        size: {name: one for name, one in here.items() if name[0] == "f"} for size, here in curves(TUNED, FRESH).items()
    }
    with pytest.raises(ValueError, match="no run of 'randinit'"):
        labels(alone)
