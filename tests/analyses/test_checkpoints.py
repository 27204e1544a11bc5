import numpy as np
import polars as pl
import pytest

from bequest.analyses.checkpoints import chart, checkpoints, verdict
from bequest.training.trajectory import Trajectory, metrics_table

# The paper's figure 7, percent: epoch of the ImageNet checkpoint -> ImageNet accuracy, test on real, on quickdraw, mean
# train accuracy on real.
FIGURE = {
    0: (0.1, 61.3, 64.4, 72.8),
    1: (5, 61.8, 64.6, 79.2),
    2: (13, 64.1, 64.9, 84.9),
    5: (40, 69.6, 66.0, 89.8),
    10: (50, 73.5, 66.75, 91.4),
    30: (57, 76.3, 66.9, 92.3),
    31: (68, 76.8, 66.9, 92.3),
    60: (71, 78.35, 67.1, 93.4),
    61: (74, 78.4, 67.2, 93.4),
    90: (75, 78.4, 66.9, 93.4),
}


def trajectory(test, speed=0.9, epochs=4, fitted=None):
    rows = [{"epoch": i, "split": "train", "error": 1 - speed} for i in range(epochs + 1)]
    if fitted is not None:
        rows[-1]["error"] = 1 - fitted
    return Trajectory(metrics_table([*rows, {"epoch": epochs, "split": "test", "error": 1 - test}]))


def pretraining(accuracies):
    rows = [{"epoch": t, "split": "validation", "error": 1 - value} for t, value in accuracies.items()]
    return Trajectory(metrics_table(rows))


SOURCE = pretraining({t: numbers[0] / 100 for t, numbers in FIGURE.items()})


def study(column=1, replicas=3, own=0.1, shared=0.05, figure=FIGURE, arm="finetune", seed=0):
    """Replicas around the numbers of the figure; `own` is the spread of each run, `shared` of a replica."""
    generator = np.random.default_rng(seed)
    offsets = shared * generator.normal(size=replicas)
    return {
        t: {
            f"{arm}/{i}": trajectory((numbers[column] + offsets[i] + own * generator.normal()) / 100, numbers[3] / 100)
            for i in range(replicas)
        }
        for t, numbers in figure.items()
    }


def test_numbers_by_hand():
    runs = {
        0: {"finetune/0": trajectory(0.4, 0.3), "finetune/1": trajectory(0.5, 0.5)},
        4: {"finetune/0": trajectory(0.6, 0.6), "finetune/1": trajectory(0.8, 0.7)},
        8: {"finetune/0": trajectory(0.7, 0.8), "finetune/1": trajectory(0.8, 0.8)},
    }
    source = pretraining({0: 0.1, 2: 0.4, 4: 0.55, 6: 0.595, 8: 0.6})
    found = checkpoints(runs, source=source)
    assert found.value("error", a="finetune", split="test", x=4) == pytest.approx(0.3)
    assert found.value("error_loss", x=4) == pytest.approx(0.05)
    assert found.value("speed_loss", x=0) == pytest.approx(0.4)
    assert found.value("error_loss", x=8) == found.value("speed_loss", x=8) == 0
    assert found.value("source_progress", x=2) == pytest.approx(0.6)
    assert found.value("plateau_epoch") == 6
    assert found.value("tolerance") == pytest.approx(12.706 * 0.05, rel=1e-4)  # two replicas, a tenth apart
    assert found.value("sufficient_epoch") == 0
    strict = checkpoints(runs, source=source, tolerance=0.05)
    row = strict.select("sufficient_epoch").row(0, named=True)
    assert (row["low"], row["value"], row["high"]) == (4, 4, 8)  # half of the resamples lose a tenth or nothing
    assert strict.value("sufficient_fraction") == 0.5
    assert checkpoints(runs, source=source, tolerance=0.049).value("sufficient_epoch") == 8


def test_losses_are_paired_by_replica():
    found = checkpoints(study(own=0.0, shared=3.0), source=SOURCE).select("error_loss", x=10).row(0, named=True)
    assert found["value"] == pytest.approx(0.049) and found["high"] - found["low"] < 1e-9


def test_plateau_begins_where_the_source_stays_up():
    dip = pretraining({0: 0.0, 1: 0.99, 2: 0.5, 3: 0.98, 4: 1.0})
    runs = {t: {"finetune/0": trajectory(0.5)} for t in (0, 4)}
    assert checkpoints(runs, source=dip).value("plateau_epoch") == 3
    assert checkpoints(study(), source=SOURCE).value("plateau_epoch") == 61
    flat = checkpoints(runs, source=pretraining({0: 0.3, 4: 0.3}))
    assert flat.select("plateau_epoch")["value"].to_list() == [None]
    assert flat.select("source_progress")["value"].to_list() == [None, None]


def test_the_figure_of_the_paper():
    (real,) = checkpoints(study(), source=SOURCE, chance=1 / 345).verdict
    assert (real.claim, real.status, real.low, real.high, real.n) == ("C10", "holds", 60, 60, 3)
    assert "last plateau begins at epoch 61" in real.sentence and "67 % of the pre-training" in real.sentence
    (sketches,) = checkpoints(study(column=2), source=SOURCE).verdict
    assert sketches.status == "holds" and sketches.high < 60


def linear(*tests):
    """Sources that reach the plateau at epoch 3 of 4, and these test accuracies at 0, 1, 2, 3, 4."""
    source = (0, 30, 50, 74.9, 75)
    return {t: (source[t], test, test, 90) for t, test in enumerate(tests)}


@pytest.mark.parametrize(
    ("tests", "options", "status", "words"),
    [
        ((50, 55, 60, 70, 70), {"own": 0.03, "shared": 0.3}, "holds under conditions", "From the last plateau"),
        ((50, 55, 70, 70, 70), {"own": 0.03, "shared": 0.3}, "holds", "before the last plateau"),
        ((50, 55, 60, 65, 70), {}, "does not hold", "Only the last"),
        ((50, 55, 60, 69.9, 70), {"own": 0.35}, "inconclusive", "surely"),
        ((50, 55, 60, 65, 70), {"own": 6.0}, "inconclusive", "differ too much"),
        ((70, 70, 70, 70, 70), {}, "inconclusive", "gives nothing"),
        ((50, 55, 60, 65, 70), {"replicas": 1}, "inconclusive", "One replica"),
    ],
)
def test_verdict_otherwise(tests, options, status, words):
    figure = linear(*tests)
    source = pretraining({t: numbers[0] / 100 for t, numbers in figure.items()})
    (found,) = checkpoints(study(figure=figure, **options), source=source).verdict
    assert found.status == status
    assert words in found.sentence


def test_one_replica_with_a_tolerance_has_a_value_and_no_interval():
    row = checkpoints(study(replicas=1, own=0), source=SOURCE, tolerance=0.01).select("sufficient_epoch")
    assert row.select("low", "value", "high").rows() == [(None, 60.0, None)]


def test_an_arm_that_failed_to_train_is_not_judged():
    runs = study()
    runs[90] = {name: trajectory(0.784, 0.9, fitted=0.004) for name in runs[90]}
    (found,) = checkpoints(runs, source=SOURCE, chance=1 / 345).verdict
    assert found.status == "inconclusive" and "failed to train" in found.sentence


def test_each_arm_has_its_rows_and_finetune_is_judged():
    probe = study(column=2, arm="probe")
    runs = {t: {**here, **probe[t]} for t, here in study().items()}
    result = checkpoints(runs, source=SOURCE)
    assert result.select("sufficient_epoch")["a"].to_list() == ["finetune", "probe"]
    alone = checkpoints(study(), source=SOURCE)
    assert result.verdict == alone.verdict
    assert checkpoints(probe, source=SOURCE).verdict[0].status == "holds"


def test_several_targets_and_the_chart():
    parts = [
        checkpoints(study(column), source=SOURCE).rows.with_columns(target=pl.lit(name))
        for column, name in ((1, "real"), (2, "quickdraw"))
    ]
    (found,) = verdict(pl.concat(parts))
    assert [part.target for part in found.parts] == ["real", "quickdraw"]
    assert len(chart(pl.concat(parts)).to_dict()["concat"]) == 4
    drawn = checkpoints(study(), source=SOURCE).chart().to_dict()
    assert len(drawn["concat"]) == 2
    (first,) = [
        rows for rows in drawn["datasets"].values() if any(row.get("series") == "source accuracy" for row in rows)
    ]
    final = {row["x"]: row["value"] for row in first if row["series"] == "final accuracy"}
    assert final[10] == pytest.approx(0.735, abs=0.002)
    assert all(row["low"] <= row["value"] <= row["high"] for row in first)
    assert {row["value"] for row in first if row["series"] == "source accuracy" and row["x"] == 61} == {0.74}


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least two checkpoints, got 1"):
        checkpoints({90: study()[90]}, source=SOURCE)
    runs = study()
    with pytest.raises(ValueError, match="no validation error at epoch 30"):
        checkpoints(runs, source=pretraining({t: 0.5 for t in FIGURE if t != 30}))
    del runs[5]["finetune/1"]
    with pytest.raises(ValueError, match="'finetune/1' is not at epochs 5 and 90"):
        checkpoints(runs, source=SOURCE)
