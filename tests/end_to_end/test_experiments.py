"""Control arms, shuffled images and earlier checkpoints, through the command line: what they leave, what is judged."""

import json

import polars as pl
import pytest

CHANGES = [
    "arms.learning_rates={}",
    "arms.controls=[meanvar, shuffled, probe]",
    "source.recipe.epochs=3",
    "analyses={learning_curves: , block_shuffle: {sizes: [8, 1], modes: [fixed, per_image], recipe: arms}, "
    "checkpoints: {epochs: [0, 1]}}",
]


@pytest.fixture(scope="module")
def experiments(study_file, bequest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments") / "digits"
    ran = bequest("run", study_file, *CHANGES, "--folder", folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def rows(folder, analysis):
    [found] = (folder / "steps").glob(f"{analysis}-*")
    return pl.read_parquet(found / "rows.parquet")


def runs(folder):
    """What is known of each training: its arguments and its checkpoints' folder."""
    for found in (folder / "steps").glob("train-*"):
        yield json.loads((found / "spec.json").read_text())["arguments"], found / "checkpoints"


def test_both_arms_and_the_control_arms_have_numbers_at_each_block_size(experiments):
    table = rows(experiments, "block_shuffle")
    errors = table.filter(pl.col("metric") == "error", pl.col("split") == "test")
    for mode in ("fixed", "per_image"):
        for x, arms in {16: 4, 8: 2, 1: 4}.items():
            here = errors.filter(pl.col("permutation") == mode, pl.col("x") == x)
            assert here.filter(pl.col("a").str.contains("/"))["a"].n_unique() == 2 * arms
    moved = table.filter(pl.col("metric") == "moved_fraction")
    assert set(moved["x"]) == {8, 1}
    assert moved["value"].min() > 0


def test_a_probe_keeps_the_weights_of_p(experiments):
    from bequest.models.files import read_weights

    found = list(runs(experiments))
    [p] = [folder for arguments, folder in found if arguments["arm"] == "P"]
    pretrained = read_weights(p / "last.safetensors")
    probes = [folder for arguments, folder in found if arguments["arm"] == "probe"]
    assert len(probes) == 2
    for folder in probes:
        last = read_weights(folder / "last.safetensors")
        changed = {name for name in last if not last[name].equal(pretrained[name])}
        assert changed == {"fc.weight", "fc.bias"}


def test_the_control_arms_start_with_statistics_of_p_and_no_feature(experiments):
    from bequest.models.files import read_weights

    found = list(runs(experiments))
    [p] = [folder for arguments, folder in found if arguments["arm"] == "P"]
    pretrained = read_weights(p / "last.safetensors")["layer1.0.conv1.weight"]
    starts = {
        arm: [read_weights(folder / "step-0.safetensors") for arguments, folder in found if arguments["arm"] == arm]
        for arm in ("meanvar", "shuffled", "finetune")
    }
    for start in starts["shuffled"]:
        own = start["layer1.0.conv1.weight"]
        assert not own.equal(pretrained)
        assert own.flatten().sort().values.equal(pretrained.flatten().sort().values)
    for start in starts["meanvar"]:
        assert start["layer1.0.conv1.weight"].std().item() == pytest.approx(pretrained.std().item(), rel=0.1)
    assert len(starts["finetune"]) == 2 * (1 + 2 * 2 + 2)  # no shuffle, two block sizes in two modes, two checkpoints


def test_the_course_over_checkpoints_begins_before_the_pre_training(experiments):
    table = rows(experiments, "checkpoints")
    errors = table.filter(pl.col("metric") == "error", pl.col("a") == "finetune", pl.col("split") == "test")
    assert errors.sort("x")["x"].to_list() == [0, 1, 3]


def test_the_report_has_the_sections_an_example_of_each_block_size_and_the_claims(experiments, bequest):
    page = (experiments / "report.html").read_text(encoding="utf-8")
    for section in ("block_shuffle", "checkpoints"):
        assert f'id="{section}"' in page
    for words in ("blocks of 8", "blocks of 1", "no shuffle"):
        assert words in page
    shown = bequest("show", experiments)
    for claim in ("C2", "C3", "C10"):
        assert claim in shown.stdout
    assert "not in studies" not in shown.stdout


def test_a_later_change_of_the_tolerance_trains_nothing(experiments, study_file, bequest):
    ran = bequest("run", study_file, *CHANGES, "analyses.checkpoints.tolerance=0.1", "--folder", experiments)
    assert ran.returncode == 0
    assert "2 steps done" in ran.stdout
