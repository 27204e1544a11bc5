"""A study is planned, followed, and cleaned up afterwards, through the command line."""

import json
import re
import shutil
import subprocess
import sys

import polars as pl
import pytest

# without the distance
FOUR = "analyses={learning_curves: {}, mistakes: {}, similarity: {batch_size: 64}, barrier: {points: 5}}"


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "digits")


def state_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_every_training_left_its_metrics_as_lines_too(finished):
    trainings = sorted((finished / "steps").glob("train-*"))
    assert len(trainings) == 10
    for folder in trainings:
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert lines == pl.read_parquet(folder / "rows.parquet").to_dicts()
        assert "metrics.jsonl" in json.loads((folder / "manifest.json").read_text())
        assert not list(folder.glob(".*"))  # no sign of life is part of a result


def test_a_study_is_followed_where_its_data_are_not(copy, bequest):
    text = (copy / "study.yaml").read_text()
    (copy / "study.yaml").write_text(text.replace("data: digits", "data: folder:/nowhere"))
    assert bequest("show", copy).returncode == 2  # that one needs them
    for words in (["status", copy], ["status", copy, "--watch"], ["clean", copy, "--dry-run"]):
        ran = bequest(*words)
        assert ran.returncode == 0, ran.stderr
    assert bequest("status", copy).stdout.splitlines()[-1].startswith("0 waiting, 0 running, 25 done, 0 failed")


def test_a_study_is_planned_without_writing_anything(finished, study_file, bequest, tmp_path):
    before = state_of(finished)
    ran = bequest("plan", study_file, "--no-calibrate", "--folder", finished)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"25 of 25 steps are in", ran.stdout)
    assert state_of(finished) == before
    ran = bequest("plan", study_file, "arms.replicas=3", "--no-calibrate", "--folder", tmp_path / "new")
    assert re.search(r"training +12 ", ran.stdout)  # P, four trials, seven runs
    assert not list(tmp_path.iterdir())
    assert bequest("plan", tmp_path / "none.yaml").returncode == 2


def test_event_files_change_no_result_and_old_results_are_removed_when_asked(copy, study_file, bequest):
    pytest.importorskip("tensorboard")
    kept = next((copy / "steps").glob("train-*"))
    shutil.rmtree(kept)
    (copy / "steps" / "notes").mkdir()
    ran = bequest("run", study_file, "tensorboard=true", FOUR, "--folder", copy)
    assert ran.returncode == 0, ran.stderr
    assert len(re.findall(r": done", ran.stdout)) == 2  # the training that was not there, and the report
    assert (kept / "manifest.json").is_file()  # by the same name
    assert len(list((copy / "tensorboard").glob(f"* {kept.name[-8:]}/events.out.tfevents.*"))) == 1
    command = [sys.executable, "-m", "bequest", "clean", str(copy)]
    refused = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)  # nobody answers
    assert refused.returncode == 1
    assert refused.stdout.count("steps/") == 2
    before = {path.name for path in (copy / "steps").iterdir()}
    ran = bequest("clean", copy, "--yes")
    assert ran.returncode == 0, ran.stderr
    gone = before - {path.name for path in (copy / "steps").iterdir()}
    assert {name.split("-")[0] for name in gone} == {"distance", "report"}
    again = bequest("run", study_file, FOUR, "--folder", copy)
    assert "0 steps done" in again.stdout
