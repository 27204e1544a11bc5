import pytest
import torch

from bequest.decisions.checkpoint import checkpoint
from bequest.training.trajectory import Trajectory, metrics_table


def run(validation, test):
    rows = [
        {"epoch": 4, "split": split, "error": error} for split, error in (("validation", validation), ("test", test))
    ]
    return Trajectory(metrics_table(rows))


def series(errors, test=None, replicas=3, spread=0.0):
    """Epoch -> runs with these errors; replica i is `i * 0.01` worse everywhere, and `spread` at earlier epochs."""
    last = max(errors)
    return {
        epoch: {
            f"finetune/{i}": run(
                error + 0.01 * i + spread * (i - 1) * (epoch != last),
                (test or errors)[epoch] + 0.01 * i + spread * (i - 1) * (epoch != last),
            )
            for i in range(replicas)
        }
        for epoch, error in errors.items()
    }


def numbers(decision, metric, **where):
    return decision.rows.filter(metric=metric, **where)


def test_numbers_by_hand():
    errors = {0: 0.5, 2: 0.3, 4: 0.205, 6: 0.209, 8: 0.2}
    kept = {"epoch-4": {"w": torch.ones(1)}, "last": {"w": torch.zeros(1)}}
    found = checkpoint(
        series(errors),
        source=Trajectory(metrics_table([]), kept),
        epoch_images=100,
        epoch_seconds=3.0,
        spent={"seconds": 12.0, "images": 500.0},
    )
    assert found.name == "checkpoint" and found.sure == "measured"
    assert numbers(found, "chosen_epoch")["value"].to_list() == [4]
    assert numbers(found, "saved_share")["value"].to_list() == [0.5]
    assert numbers(found, "saved_images")["value"].to_list() == [400]
    assert numbers(found, "saved_seconds")["value"].to_list() == [12]
    assert numbers(found, "error_loss", x=2, split="validation")["value"].to_list() == pytest.approx([0.1])
    assert found.weights is kept["epoch-4"] and found.costs == {"seconds": 12.0, "images": 500.0}
    assert "Stop the pre-training at epoch 4 of 8, which saves 50 % of the pre-training: it loses 0.5" in found.advice


def test_every_later_checkpoint_must_be_enough_too():
    dip = {0: 0.5, 2: 0.2, 4: 0.3, 8: 0.2}
    found = checkpoint(series(dip))
    assert numbers(found, "chosen_epoch")["value"].to_list() == [8]
    assert found.sure == "measured" and "Pre-train to the end: from epoch 4 of 8" in found.advice
    assert "10.0 (10.0 to 10.0) points" in found.advice


def test_an_earlier_one_that_may_be_enough_is_said_to_be_so():
    found = checkpoint(series({0: 0.5, 4: 0.22, 8: 0.2}, spread=0.02))  # 2 points more, give or take 5
    assert numbers(found, "chosen_epoch")["value"].to_list() == [8]
    assert found.sure == "inconclusive" and "but it is not sure that this is needed: from epoch 4" in found.advice
    assert checkpoint(series({0: 0.5, 8: 0.2}, replicas=1)).sure == "inconclusive"


def test_test_is_looked_at_for_the_chosen_one_alone_and_may_not_confirm_it():
    errors = {0: 0.5, 4: 0.205, 8: 0.2}
    found = checkpoint(series(errors, test={0: 0.5, 4: 0.26, 8: 0.2}))
    assert numbers(found, "error_loss", split="test")["x"].to_list() == [4]
    assert found.sure == "inconclusive" and "Test does not confirm epoch 4" in found.advice
    assert "6.0 (6.0 to 6.0)" in found.advice


def test_an_interval_across_the_margin_is_not_sure():
    found = checkpoint(series({0: 0.5, 4: 0.2, 8: 0.2}, spread=0.02))
    assert numbers(found, "chosen_epoch")["value"].to_list() == [4]
    assert found.sure == "inconclusive" and "but it is not sure" in found.advice
    one = checkpoint(series({0: 0.5, 4: 0.2, 8: 0.2}, replicas=1))
    assert one.sure == "inconclusive" and "1 replica;" in one.advice
    wide = checkpoint(series({0: 0.5, 4: 0.2, 8: 0.2}, spread=0.02), margin=0.2)
    assert wide.sure == "measured"


def test_where_the_start_is_enough_pre_training_is_not_needed():
    found = checkpoint(series({0: 0.2, 4: 0.2, 8: 0.2}))
    assert numbers(found, "chosen_epoch")["value"].to_list() == [0]
    assert found.advice.startswith("Do without the pre-training, which saves all 8 epochs")


def test_where_nothing_was_learned_nothing_is_decided():
    found = checkpoint(series({0: 0.9, 8: 0.88}), chance=0.1)
    assert found.sure == "inconclusive" and "11.0 % right on validation where guessing is 10.0 %" in found.advice
    assert checkpoint(series({0: 0.5, 8: 0.2}), chance=0.1).sure == "measured"


def test_other_arms_are_left_out():
    runs = series({0: 0.5, 8: 0.2})
    for here in runs.values():
        here["probe/0"] = run(0.1, 0.1)
    assert numbers(checkpoint(runs), "chosen_epoch")["value"].to_list() == [8]
    assert numbers(checkpoint(runs, arm="probe"), "chosen_epoch")["value"].to_list() == [0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least two checkpoints, got 1"):
        checkpoint(series({8: 0.2}))
    with pytest.raises(ValueError, match="no run of the arm 'randinit'"):
        checkpoint(series({0: 0.5, 8: 0.2}), arm="randinit")
    runs = series({0: 0.5, 8: 0.2})
    del runs[0]["finetune/1"]
    with pytest.raises(ValueError, match="'finetune/1' is missing at epoch 0"):
        checkpoint(runs)
    with pytest.raises(ValueError, match="margin is a share"):
        checkpoint(series({0: 0.5, 8: 0.2}), margin=2)
