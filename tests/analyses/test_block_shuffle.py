import numpy as np
import polars as pl
import pytest

from bequest.analyses.block_shuffle import block_shuffle, chart, verdict
from bequest.training.trajectory import Trajectory, metrics_table

CHANCE = 1 / 345
# The paper's figure 3, percent: block size -> (test of finetune, of randinit, mean train of finetune, of randinit).
REAL = {
    "pixel-channel": (8.9, 7.4, 81.3, 47.1),
    1: (13.2, 12.5, 82.4, 46.2),
    2: (18.8, 18.3, 85.2, 68.1),
    8: (41.7, 28.0, 91.1, 79.6),
    28: (63.0, 30.4, 93.9, 83.8),
    224: (77.0, 45.1, 95.0, 86.0),
}
QUICKDRAW = {
    "pixel-channel": (10.6, 1.2, 82.9, 0.8),
    1: (9.4, 3.1, 78.5, 1.9),
    2: (16.6, 11.8, 75.4, 69.8),
    8: (30.4, 23.6, 88.0, 77.6),
    56: (50.7, 37.6, 93.0, 87.1),
    224: (64.7, 50.7, 93.6, 87.7),
}


def trajectory(test, speed, train=None, epochs=4):
    """A run with this final test accuracy, mean train accuracy and final train accuracy."""
    train = speed if train is None else train
    rest = (epochs * speed - train) / (epochs - 1)
    course = [0.0] + [rest] * (epochs - 1) + [train]
    rows = [{"epoch": i, "split": "train", "error": 1 - accuracy} for i, accuracy in enumerate(course)]
    return Trajectory(metrics_table([*rows, {"epoch": epochs, "split": "test", "error": 1 - test}]))


def study(figure, replicas=3, spread=0.4, controls=(), untrained=0.005):
    """Replicas around the numbers of a figure; a quickdraw-like arm below 2 percent of speed is not trained."""
    generator = np.random.default_rng(0)
    named = {}
    for block, (tuned, random, fast, slow) in figure.items():
        arms = {"finetune": (tuned, fast), "randinit": (random, slow)}
        arms |= {name: (random, slow + share * (fast - slow)) for name, share in controls}
        for name, (test, speed) in arms.items():
            for i in range(replicas):
                noise = spread * generator.normal(size=2)
                end = untrained if speed < 2 else None
                run = trajectory((test + noise[0]) / 100, max(0.1, speed + noise[1]) / 100, end)
                named.setdefault(block, {})[f"{name}/{i}"] = run
    return named


def test_numbers_by_hand():
    runs = {
        8: {
            "finetune/0": trajectory(0.4, 0.7),
            "finetune/1": trajectory(0.6, 0.8),
            "randinit/0": trajectory(0.2, 0.3),
            "randinit/1": trajectory(0.2, 0.5),
            "randinit/1b": trajectory(0.9, 0.9),
        }
    }
    found = block_shuffle(runs, size=32, chance=0.1, moved={8: {"finetune/0": 1.0, "randinit/0": 0.75}})
    assert found.value("relative_drop", x=8) == pytest.approx(60.0)  # of the means, not the mean of 50 and 67
    assert found.value("error", a="finetune", split="test", x=8) == pytest.approx(0.5)
    assert found.value("error", a="randinit/1b", split="test", x=8) == pytest.approx(0.1)
    assert found.value("mean_train_accuracy", a="randinit", x=8) == pytest.approx(0.4)
    assert found.value("mean_train_accuracy_difference", a="finetune", b="randinit") == pytest.approx(0.35)
    assert found.value("error_difference", a="finetune", b="randinit", split="test") == pytest.approx(-0.3)
    assert found.select("moved_fraction").select("a", "value").rows() == [("finetune/0", 1.0), ("randinit/0", 0.75)]
    assert found.value("image_size") == 32 and found.value("chance_accuracy") == 0.1


def test_one_replica_gives_the_number_of_the_paper_and_no_interval():
    found = block_shuffle(study(REAL, replicas=1, spread=0), size=224, chance=CHANCE)
    drops = {row["x"]: row for row in found.select("relative_drop").iter_rows(named=True)}
    assert [round(drops[x]["value"]) for x in (0, 2, 8, 28, 224)] == [17, 3, 33, 52, 41]
    assert all(row["low"] is None and row["n"] == 1 for row in drops.values())


def test_an_accuracy_near_chance_has_no_drop():
    figure = {8: (0.5, 0.3, 60, 60), 224: (60, 30, 90, 80)}
    found = block_shuffle(study(figure, spread=0), size=224, chance=CHANCE)
    row = found.select("relative_drop", x=8).row(0, named=True)
    assert row["value"] is None and "not twice chance" in row["note"]
    assert found.select("relative_drop", x=224)["note"].to_list() == [None]
    (reuse,) = found.verdict
    assert reuse.status == "inconclusive" and "not twice chance" in reuse.sentence


def test_speed_is_over_the_epochs_that_all_runs_have():
    long, short = trajectory(0.5, 0.5, epochs=8), trajectory(0.5, 0.5, epochs=4)
    more = long.metrics.with_columns(error=pl.when(pl.col("epoch") > 4).then(0.0).otherwise(pl.col("error")))
    found = block_shuffle({8: {"finetune/0": Trajectory(more), "randinit/0": short}}, size=8, chance=0.1)
    assert found.value("mean_train_accuracy", a="finetune/0") == pytest.approx(0.5)


def test_features_are_reused_on_real_images_and_not_on_sketches():
    reuse, _ = block_shuffle(study(REAL), size=224, chance=CHANCE).verdict
    assert (reuse.claim, reuse.status, reuse.n) == ("C2", "holds", 3)
    assert 20 < reuse.low < reuse.high and "41 (" in reuse.sentence and "blocks of 1 pixel," in reuse.sentence
    sketches, _ = block_shuffle(study(QUICKDRAW, spread=0.15), size=224, chance=CHANCE).verdict
    assert sketches.status == "does not hold"  # from 22 percent without shuffle to 29 at blocks of 2
    assert "at blocks of 2 pixels" in sketches.sentence and "at blocks of 1 pixel: randinit failed" in sketches.sentence


@pytest.mark.parametrize(
    ("figure", "options", "status", "words"),
    [
        (REAL, {"replicas": 2}, "inconclusive", "Fewer than 3 pairs"),
        (REAL, {"spread": 30}, "inconclusive", "no clear"),
        ({1: (13, 12, 80, 40), 224: (40, 50, 80, 80)}, {}, "does not hold", "does not help without shuffle"),
        ({28: (60, 30, 80, 40), 112: (70, 40, 80, 80)}, {}, "inconclusive", "without shuffle cannot be judged"),
        ({112: (60, 30, 80, 40), 224: (70, 40, 80, 80)}, {}, "inconclusive", "up to a quarter"),
        ({1: (13, 12, 80, 40), 224: (70, 40, 80, 1)}, {}, "inconclusive", "no shuffle: randinit failed to train"),
    ],
)
def test_feature_reuse_otherwise(figure, options, status, words):
    found = next(one for one in block_shuffle(study(figure, **options), size=224, chance=CHANCE).verdict)
    assert (found.claim, found.status) == ("C2", status)
    assert words in found.sentence


def test_blocks_that_did_not_move_are_not_judged():
    runs = study({28: (60, 30, 80, 40), 224: (70, 40, 80, 80)})
    result = block_shuffle(runs, size=224, chance=CHANCE, moved={28: 0.0, 224: 0.0})
    assert result.select("relative_drop")["note"].to_list() == ["a permutation moved no block", None]
    assert result.verdict[0].status == "inconclusive"


@pytest.mark.parametrize(
    ("figure", "controls", "status", "words"),
    [
        (REAL, (), "holds under conditions", "Without the control arms meanvar and shuffled"),
        (REAL, (("meanvar", 0.0), ("shuffled", 0.3)), "holds", "their scale (shuffled) explains a part"),
        (REAL, (("meanvar", -0.1), ("shuffled", -0.1)), "holds", "know of pixel values, not their scale alone"),
        (REAL, (("meanvar", 1.0),), "holds under conditions", "the scale of the weights is enough"),
        (QUICKDRAW, (), "inconclusive", "randinit failed to train"),
        ({1: (13, 12, 40, 80)}, (), "does not hold", "Slower"),
        ({1: (13, 12, 80, 80)}, (), "inconclusive", "Not clearly faster"),
    ],
)
def test_low_level_statistics(figure, controls, status, words):
    found = block_shuffle(study(figure, controls=controls), size=224, chance=CHANCE).verdict[-1]
    assert (found.claim, found.status) == ("C3", status)
    assert words in found.sentence


def test_interval_of_the_speed_is_that_of_the_smallest_blocks():
    result = block_shuffle(study(REAL), size=224, chance=CHANCE)
    row = result.select("mean_train_accuracy_difference", x=0.0).row(0, named=True)
    found = result.verdict[-1]
    assert (found.low, found.high) == (pytest.approx(100 * row["low"]), pytest.approx(100 * row["high"]))
    assert found.low > 30


def test_a_control_arm_that_failed_to_train_explains_nothing():
    figure = {1: (13, 12, 80, 40)}
    runs = study(figure, controls=(("meanvar", 0.0),))
    for i in range(3):
        runs[1][f"meanvar/{i}"] = trajectory(0.01, 0.005)
    found = block_shuffle(runs, size=224, chance=CHANCE).verdict[-1]
    assert found.status == "holds under conditions" and "As meanvar failed to train" in found.sentence


def test_what_the_rows_cannot_speak_of_is_not_judged():
    assert [
        one.claim
        for one in block_shuffle(study({8: (60, 30, 80, 40), 224: (70, 40, 80, 80)}), size=224, chance=CHANCE).verdict
    ] == ["C2"]
    only = {
        block: {name: run for name, run in runs.items() if name.startswith("finetune")}
        for block, runs in study(REAL).items()
    }
    assert block_shuffle(only, size=224, chance=CHANCE).verdict == ()


def test_both_kinds_of_permutation_and_several_targets_are_joined():
    fixed = block_shuffle(study(REAL), size=224, chance=CHANCE).rows
    each = block_shuffle(study(QUICKDRAW, spread=0.15), size=224, chance=CHANCE, permutation="per_image").rows
    both, _ = verdict(pl.concat([fixed, each]))
    assert both.status == "holds under conditions"
    assert "one permutation: holds" in both.sentence and "a permutation for each image: does not hold" in both.sentence
    named = [rows.with_columns(target=pl.lit(name)) for rows, name in ((fixed, "real"), (each, "quickdraw"))]
    reuse, speed = verdict(pl.concat(named))
    assert [part.target for part in reuse.parts] == ["real", "quickdraw"]
    assert reuse.status == "holds under conditions" and speed.status == "inconclusive"
    assert len(chart(pl.concat(named)).to_dict()["concat"]) == 4


def test_chart_shows_accuracies_of_the_arms():
    drawn = block_shuffle(study(REAL, controls=(("probe", 0.5),)), size=224, chance=CHANCE).chart().to_dict()
    assert len(drawn["concat"]) == 2
    every = list(drawn["datasets"].values())
    rows = [part for part in every if "a" in part[0]]
    assert len(rows) == 2
    assert all({row["a"] for row in part} == {"finetune", "randinit", "probe"} for part in rows)
    assert {row["block"] for row in rows[0]} == {"*", "1", "2", "8", "28", "no shuffle"}
    test = next(
        part for part in rows if any(row["a"] == "finetune" and abs(row["value"] - 0.77) < 0.01 for row in part)
    )
    assert all(row["low"] <= row["value"] <= row["high"] for row in test)
    axes = [pane["layer"][0]["encoding"]["x"] for pane in drawn["concat"]]
    assert all(axis["sort"] == ["*", "1", "2", "8", "28", "no shuffle"] for axis in axes)


def test_relative_drops_are_written_above_the_accuracies():
    result = block_shuffle(study(REAL), size=224, chance=CHANCE)
    (texts,) = [part for part in result.chart().to_dict()["datasets"].values() if "drop" in part[0]]
    wanted = result.select("relative_drop").drop_nulls("value")
    assert len(texts) == wanted.height > 3
    for row, x, value, note in zip(texts, *(wanted.sort("x")[name] for name in ("x", "value", "note")), strict=True):
        assert row["block"] == {0: "*", 224: "no shuffle"}.get(int(x), str(int(x)))
        assert row["drop"] == (f"{round(value)}" if note is None else f"({round(value)})")
        highest = result.select("error", x=x, split="test").filter(pl.col("a").is_in(["finetune", "randinit"]))
        assert row["top"] >= 1 - highest["value"].min()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="needs trajectories"):
        block_shuffle({}, size=8, chance=0.1)
    runs = {"finetune/0": trajectory(0.5, 0.5)}
    for block in (0, 16, "*"):
        with pytest.raises(ValueError, match="a block size is 1 to 8 pixels"):
            block_shuffle({block: runs}, size=8, chance=0.1)
    bare = Trajectory(runs["finetune/0"].metrics.filter(pl.col("split") == "test"))
    with pytest.raises(ValueError, match="'finetune/0' have no train error"):
        block_shuffle({8: {"finetune/0": bare}}, size=8, chance=0.1)
