"""A study from its file to its report, through the command line."""

import json
import re
import shutil

import polars as pl

ANALYSES = ("learning_curves", "mistakes", "similarity", "distance", "barrier")


def folders(folder, function):
    return sorted((folder / "steps").glob(f"{function}-*"))


def rows(folder, analysis):
    [found] = folders(folder, analysis)
    return pl.read_parquet(found / "rows.parquet")


def test_every_analysis_left_rows_for_the_target(finished):
    for analysis in ANALYSES:
        table = rows(finished, analysis)
        assert table.height > 0
        assert table["target"].unique().to_list() == ["handwriting"]
        assert table["analysis"].unique().to_list() == [analysis]


def test_every_arm_was_trained_with_its_own_seeds_and_the_twin_shares_its_init(finished):
    runs = {}
    for path in folders(finished, "train"):
        spec = json.loads((path / "spec.json").read_text())
        runs[spec["label"]] = spec["arguments"]
    trained = {label.split("train ")[1]: given for label, given in runs.items() if ": train " in label}
    assert set(trained) == {"finetune/0", "finetune/1", "randinit/0", "randinit/1", "randinit/0b"}
    twin, first = trained["randinit/0b"], trained["randinit/0"]
    assert (twin["init_seed"] == first["init_seed"], twin["order_seed"] == first["order_seed"]) == (True, False)
    assert len({given["order_seed"] for given in trained.values()}) == 3  # replica i of both arms is a pair
    tried = [label for label in runs if ": try " in label]
    assert len(tried) == 4


def test_finetune_starts_from_the_pretrained_weights_and_a_fresh_head(finished):
    from bequest.models.files import read_weights

    by_label = {json.loads((p / "spec.json").read_text())["label"]: p for p in folders(finished, "train")}
    pretrained = read_weights(by_label["pre-train on fonts"] / "checkpoints" / "last.safetensors")
    start = read_weights(by_label["handwriting: train finetune/0"] / "checkpoints" / "step-0.safetensors")
    other = read_weights(by_label["handwriting: train finetune/1"] / "checkpoints" / "step-0.safetensors")
    for name, tensor in start.items():
        assert tensor.equal(other[name]) == (not name.startswith("fc."))
        assert tensor.equal(pretrained[name]) == (not name.startswith("fc."))


def test_the_report_has_all_eleven_claims_and_a_section_for_each_analysis(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    for number in range(1, 12):
        assert re.search(rf"\bC{number}\b", page), f"claim C{number} has no slot"
    assert "What do printed digits bequeath to handwritten ones?" in page
    assert "The study did not ask for block shuffle." in page


def test_a_second_run_does_nothing(finished, study_file, bequest):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and path.name != "lock"}
    ran = bequest("run", study_file, "--folder", finished)
    assert ran.returncode == 0
    assert "0 steps done" in ran.stdout
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and path.name != "lock"}
    study = finished / "study.yaml"  # is written again with the same words
    assert {p: t for p, t in before.items() if p != study} == {p: t for p, t in after.items() if p != study}


def test_changing_the_points_of_the_line_computes_barrier_and_report_alone(finished, study_file, bequest, tmp_path):
    copy = tmp_path / "digits"
    shutil.copytree(finished, copy)
    ran = bequest("run", study_file, "barrier.points=3", "--folder", copy)
    assert ran.returncode == 0
    done = re.findall(r"\] (.+?): done", ran.stdout)
    assert done == ["handwriting: measure barrier", "write the report"]


def test_status_show_and_report_look_at_a_study(finished, bequest, tmp_path):
    copy = tmp_path / "digits"
    shutil.copytree(finished, copy)
    status = bequest("status", copy)
    assert status.returncode == 0
    assert status.stdout.count("done") >= 15
    assert "to do" not in status.stdout
    show = bequest("show", copy)
    assert show.returncode == 0
    assert "C11" in show.stdout
    (copy / "report.html").unlink()
    assert bequest("report", copy).returncode == 0
    assert (copy / "report.html").is_file()


def test_export_and_a_report_beside_another_study(finished, bequest, tmp_path):
    ran = bequest("export", finished, "--to", "parquet", "--folder", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    made = pl.read_parquet(tmp_path / "out" / "barrier.parquet")
    assert made.drop("target").equals(rows(finished, "barrier").drop("target"))
    copy = tmp_path / "again"
    shutil.copytree(finished, copy)
    assert bequest("report", copy, finished).returncode == 0
    page = (copy / "beside-digits.html").read_text(encoding="utf-8")
    assert "again: handwriting" in page and "digits: handwriting" in page


def test_pretrained_weights_can_come_from_a_file_with_another_head(finished, study_file, bequest, tmp_path):
    by_label = {json.loads((p / "spec.json").read_text())["label"]: p for p in folders(finished, "train")}
    weights = by_label["pre-train on fonts"] / "checkpoints" / "last.safetensors"
    folder = tmp_path / "digits"
    ran = bequest("run", study_file, f"source={{weights: {weights}}}", "--folder", folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "read the pre-trained weights: done" in ran.stdout
    found, expected = (rows(place, "similarity").filter(metric="cka") for place in (folder, finished))
    assert found.equals(expected)  # the same P by another way


def test_a_run_whose_loss_is_not_finite_fails_alone(study_file, bequest, tmp_path):
    folder = tmp_path / "digits"
    changes = ["model=fixup_resnet8", "arms.learning_rates={finetune: [0.01], randinit: [100]}", "arms.recipe.warmup=0"]
    ran = bequest("run", study_file, *changes, "--folder", folder)
    assert ran.returncode == 1, ran.stdout
    assert "lower the learning rate or lengthen the warm-up" in ran.stdout
    assert len(folders(folder, "barrier")) == 1  # the runs that went well are still compared
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "lower the learning rate" in page
