from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from bequest.analyses.learning_curves import chart, learning_curves, verdict

SWEPT = {
    "tried": {arm: (0.01, 0.1, 1.0) for arm in ("finetune", "randinit")},
    "chosen": dict(finetune=0.1, randinit=0.1),
}


def trajectory(train, validation=(), test=None):
    """A trajectory from its errors, epoch by epoch from 0; test is that of the last epoch."""
    rows = [("train", epoch, error) for epoch, error in enumerate(train)]
    rows += [("validation", epoch, error) for epoch, error in enumerate(validation)]
    rows += [] if test is None else [("test", len(train) - 1, test)]
    columns = {
        "epoch": [row[1] for row in rows],
        "step": [10 * row[1] for row in rows],
        "split": [row[0] for row in rows],
        "error": [float(row[2]) for row in rows],
        "loss": [3 * float(row[2]) for row in rows],
        "learning_rate": [0.1] * len(rows),
    }
    return SimpleNamespace(metrics=pl.DataFrame(columns))


def study(seed=0, replicas=3, tuned=(0.1, 0.5), random=(0.3, 0.12), epochs=10):
    """Curves that fall from 0.9 to (final error) at (rate)."""
    generator = np.random.default_rng(seed)
    named = {}
    for arm, (final, rate) in (("finetune", tuned), ("randinit", random)):
        for replica in range(replicas):
            curve = final + (0.9 - final) * np.exp(-rate * np.arange(epochs + 1)) + 0.005 * generator.random(epochs + 1)
            named[f"{arm}/{replica}"] = trajectory(curve / 1.2, curve, curve[-1])
    return named


def test_numbers_of_one_run_by_hand():
    run = trajectory([0.9, 0.5, 0.3, 0.1], [0.9, 0.6, 0.2, 0.4], 0.35)
    found = learning_curves({"finetune/0": run})
    assert found.value("mean_train_accuracy", a="finetune/0") == pytest.approx((0.5 + 0.7 + 0.9) / 3)
    assert found.value("error", a="finetune/0", split="validation", x=2) == 0.2
    assert found.value("loss", a="finetune/0", split="train", x=0) == pytest.approx(2.7)
    assert found.value("final_error", a="finetune/0", split="test") == 0.35
    assert found.value("final_error", a="finetune/0", split="validation") == 0.4
    assert found.value("threshold_error") == 0.2
    assert found.value("epochs_to_error", a="finetune/0") == 2


def test_arm_is_the_mean_with_a_t_interval():
    runs = {f"finetune/{i}": trajectory([0.9, error], [0.9, error], error) for i, error in enumerate((0.1, 0.2, 0.3))}
    row = learning_curves(runs).select("error", a="finetune", split="train", x=1).row(0, named=True)
    assert (row["value"], row["n"]) == (pytest.approx(0.2), 3)
    assert row["high"] == pytest.approx(0.2 + 4.302653 * 0.1 / 3**0.5, abs=1e-6)


def test_twin_keeps_its_curve_and_leaves_the_mean_alone():
    runs = study()
    alone = learning_curves(runs)
    with_twin = learning_curves({**runs, "randinit/0b": trajectory([0.9] * 11, [0.9] * 11, 0.9)})
    assert with_twin.select("error", a="randinit/0b", split="train").height == 11
    for metric in ("final_error", "mean_train_accuracy", "epochs_to_error"):
        kept = with_twin.select(metric).filter(pl.col("a") != "randinit/0b")
        assert kept.equals(alone.select(metric))
    assert with_twin.select("epochs_to_error", a="randinit/0b")["value"].to_list() == [None]


def test_differences_pair_replicas_by_their_number():
    runs = {
        "randinit/1": trajectory([0.9, 0.5], [0.9, 0.5], 0.5),
        "finetune/0": trajectory([0.9, 0.1], [0.9, 0.1], 0.1),
        "randinit/0": trajectory([0.9, 0.2], [0.9, 0.2], 0.2),
        "finetune/1": trajectory([0.9, 0.4], [0.9, 0.4], 0.4),
        "randinit/7": trajectory([0.9, 0.0], [0.9, 0.0], 0.0),
    }
    row = learning_curves(runs).select("error_difference", split="test").row(0, named=True)
    assert (row["a"], row["b"], row["n"]) == ("finetune", "randinit", 2)
    assert (row["value"], row["low"], row["high"]) == (pytest.approx(-0.1), pytest.approx(-0.1), pytest.approx(-0.1))
    speed = learning_curves(runs).select("mean_train_accuracy_difference").row(0, named=True)
    assert speed["value"] == pytest.approx(0.1)


def test_threshold_is_reached_by_every_replica():
    found = learning_curves(study())
    worst = max(
        found.select("error", a=name, split="validation")["value"].min() for name in study() if name.startswith("rand")
    )
    assert found.value("threshold_error") == worst
    assert found.select("epochs_to_error")["value"].null_count() == 0
    assert found.select("never_reached")["value"].to_list() == [0, 0]
    assert found.value("epochs_to_error_difference", a="finetune", b="randinit") < 0


def test_a_run_that_never_gets_there_has_no_epoch_and_is_counted():
    found = learning_curves(study(), threshold=0.2)
    assert found.select("epochs_to_error", a="randinit/0")["value"].to_list() == [None]
    assert found.select("epochs_to_error", a="randinit")["value"].to_list() == [None]
    assert found.value("never_reached", a="randinit") == 3 and found.value("never_reached", a="finetune") == 0
    assert found.value("epochs_to_error", a="finetune") > 0
    assert found.select("epochs_to_error_difference").height == 0


def test_verdict_holds():
    (found,) = learning_curves(study(), **SWEPT).verdict
    assert (found.claim, found.status, found.n) == ("C1", "holds", 3)
    assert found.low < found.high < 0
    assert "test error" in found.sentence and "3 pairs" in found.sentence


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"tuned": (0.3, 0.12), "random": (0.1, 0.5)}, "does not hold", "Worse"),
        ({"tuned": (0.1, 0.12), "random": (0.1, 0.5)}, "does not hold", "Worse"),
        ({"tuned": (0.2, 0.5), "random": (0.2, 0.5)}, "inconclusive", "Neither"),
        ({"replicas": 1}, "inconclusive", "no interval"),
        ({"random": (0.85, 0.5)}, "inconclusive", "randinit failed to train"),
        ({"tuned": (0.85, 0.5)}, "inconclusive", "finetune failed to train"),
    ],
)
def test_verdict_otherwise(options, status, words):
    (found,) = learning_curves(study(**options), chance=1 / 5).verdict
    assert found.status == status
    assert words in found.sentence


@pytest.mark.parametrize(
    ("tried", "chosen", "words"),
    [
        (None, None, "learning rates not known to be tuned"),
        ({"finetune": [0.01, 0.1, 1]}, {"finetune": 0.1}, "learning rate of randinit not known to be tuned"),
        (SWEPT["tried"], {"finetune": 0.1}, "learning rate of randinit not known to be tuned"),
        (SWEPT["tried"] | {"randinit": [0.1]}, SWEPT["chosen"], "the learning rate of randinit was not tuned"),
        (SWEPT["tried"] | {"randinit": [0.1, 0.1]}, SWEPT["chosen"], "the learning rate of randinit was not tuned"),
        (SWEPT["tried"], {"finetune": 0.1, "randinit": 1.0}, "randinit (1) is at the edge of the 3 tried"),
        (SWEPT["tried"], {"finetune": 0.01, "randinit": 0.1}, "finetune (0.01) is at the edge of the 3 tried"),
    ],
)
def test_better_and_faster_is_not_enough_where_a_learning_rate_may_be_to_blame(tried, chosen, words):
    (found,) = learning_curves(study(), tried=tried, chosen=chosen).verdict
    assert found.status == "holds under conditions" and words in found.sentence
    (found,) = learning_curves(study(tuned=(0.3, 0.12), random=(0.1, 0.5)), tried=tried, chosen=chosen).verdict
    assert found.status == "does not hold" and words not in found.sentence


def test_learning_rates_are_rows():
    found = learning_curves(study(), tried=SWEPT["tried"], chosen={"finetune": 1.0, "randinit": 0.1})
    assert found.value("learning_rates_tried", a="randinit") == 3
    assert found.select("learning_rate_chosen").select("a", "value", "note").rows() == [
        ("finetune", 1.0, "at the edge"),
        ("randinit", 0.1, None),
    ]
    with pytest.raises(ValueError, match=r"0\.2 of 'finetune' is not among those tried"):
        learning_curves(study(), tried=SWEPT["tried"], chosen={"finetune": 0.2})


def test_without_chance_the_start_takes_its_place():
    runs = study(random=(0.88, 0.5))
    assert learning_curves(runs).verdict[0].status == "inconclusive"
    assert "before training" in learning_curves(runs).verdict[0].sentence


def test_unequal_epochs_are_not_judged():
    runs = study()
    for name in ("finetune/0", "finetune/1", "finetune/2"):
        runs[name] = study(epochs=20)[name]
    result = learning_curves(runs)
    assert result.verdict[0].status == "inconclusive" and "unequal" in result.verdict[0].sentence
    same = learning_curves(study()).value("mean_train_accuracy_difference", a="finetune")
    assert result.value("mean_train_accuracy_difference", a="finetune") == pytest.approx(same, abs=0.01)


def test_no_arms_no_verdict():
    runs = {"mine": study()["finetune/0"], "yours": study()["randinit/0"]}
    result = learning_curves(runs)
    assert result.verdict == ()
    assert result.value("error_difference", split="test") < 0  # two single runs are one pair
    assert result.select("error", a="mine", split="test").height == 1


def test_names_without_replica_are_arms_of_one_run():
    runs = {"finetune": study()["finetune/0"], "randinit": study()["randinit/0"]}
    assert learning_curves(runs).verdict[0].status == "inconclusive"


def test_verdict_by_target_and_chart():
    parts = [
        learning_curves(study(seed), **SWEPT).rows.with_columns(pl.lit(name).alias("target"))
        for seed, name in ((0, "l"), (1, "m"))
    ]
    (found,) = verdict(pl.concat(parts))
    assert (found.status, [part.target for part in found.parts]) == ("holds", ["l", "m"])
    assert len(chart(pl.concat(parts)).to_dict()["concat"]) == 2
    drawn = learning_curves(study()).chart().to_dict()
    assert drawn["width"] == "container"
    (rows,) = drawn["datasets"].values()
    assert {row["a"] for row in rows} == {"finetune", "randinit"}
    assert all(0 <= row["low"] <= row["high"] <= 1 for row in rows)
    assert sum(row["split"] == "test" for row in rows) == 2


def test_test_rows_at_each_epoch_are_fine():
    run = trajectory([0.9, 0.5, 0.3], [0.9, 0.5, 0.4])
    more = run.metrics.filter(split="validation").with_columns(split=pl.lit("test"))
    found = learning_curves({"finetune/0": SimpleNamespace(metrics=pl.concat([run.metrics, more]))})
    assert found.select("error", split="test", a="finetune/0").height == 3
    assert found.value("final_error", split="test", a="finetune/0") == 0.4


def test_bad_input_is_refused():
    run = study()["finetune/0"]
    with pytest.raises(ValueError, match="at least one"):
        learning_curves({})
    with pytest.raises(ValueError, match="no column 'loss'"):
        learning_curves({"a": SimpleNamespace(metrics=run.metrics.drop("loss"))})
    with pytest.raises(ValueError, match="no epoch after 0"):
        learning_curves({"a": trajectory([0.9])})
    with pytest.raises(ValueError, match="named like the arm"):
        learning_curves({"a": run, "a/1": run})


def with_controls(**ends):
    """The study, with a control arm for each name, its final error and rate."""
    runs = study()
    for name, tuned in ends.items():
        runs |= {key.replace("finetune", name): run for key, run in study(tuned=tuned).items() if key[0] == "f"}
    return runs


def test_control_arms_leave_the_numbers_of_the_two_arms_alone():
    alone = learning_curves(study(), **SWEPT)
    beside = learning_curves(with_controls(meanvar=(0.28, 0.15), probe=(0.6, 0.9)), **SWEPT)
    own = pl.col("a").is_null() | pl.col("a").str.contains("finetune|randinit")
    other = pl.col("b").is_null() | (pl.col("b") == "randinit")
    names = ~pl.col("a").fill_null("").str.contains("meanvar|probe")
    assert beside.rows.filter(own & other & names).equals(alone.rows)
    assert beside.select("epochs_to_error", a="probe")["value"].to_list() == [None]  # never as low as the others
    (plain,), (told,) = alone.verdict, beside.verdict
    assert (plain.status, plain.low, plain.high, plain.n) == (told.status, told.low, told.high, told.n)
    assert "By the control arms" in told.sentence and "By the control arms" not in plain.sentence


def test_each_control_arm_is_paired_with_random_init_and_with_fine_tuning():
    found = learning_curves(with_controls(meanvar=(0.28, 0.15), shuffled=(0.25, 0.15), probe=(0.6, 0.9)))
    for metric in ("error_difference", "mean_train_accuracy_difference"):
        pairs = set(found.select(metric).select("a", "b").rows())
        assert {(name, "randinit") for name in ("finetune", "meanvar", "shuffled", "probe")} <= pairs
        assert {("finetune", name) for name in ("meanvar", "shuffled", "probe")} <= pairs
    steps = [
        found.value("error_difference", a=a, b=b, split="test")
        for a, b in (("finetune", "meanvar"), ("meanvar", "randinit"))
    ]
    assert sum(steps) == pytest.approx(found.value("error_difference", a="finetune", b="randinit", split="test"))


def test_a_control_arm_that_failed_to_train_is_named_and_explains_nothing():
    (found,) = learning_curves(with_controls(meanvar=(0.28, 0.15), shuffled=(0.9, 0.1)), chance=0.2).verdict
    assert "with meanvar" in found.sentence and "over meanvar" in found.sentence
    assert "shuffled failed to train" in found.sentence and "with shuffled" not in found.sentence


def test_intervals_of_errors_stay_between_0_and_1():
    runs = {f"finetune/{i}": trajectory([0.9, error], [0.9, error], error) for i, error in enumerate((0.0, 0.01, 0.05))}
    row = learning_curves(runs).select("error", a="finetune", split="train", x=1).row(0, named=True)
    assert row["low"] == 0 < row["value"] < row["high"]
    speed = learning_curves(runs).select("mean_train_accuracy", a="finetune").row(0, named=True)
    assert speed["high"] == 1
