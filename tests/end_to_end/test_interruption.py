"""Killed at random moments, a study goes on where it was and ends with the rows of an undisturbed run."""

import random
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

KILLS = 4


def tables(folder):
    """Every table in the store by the key of its step; keys and contents have to agree."""
    return {path.parent.name: pl.read_parquet(path) for path in sorted((folder / "steps").glob("*/rows.parquet"))}


def test_a_killed_study_ends_with_the_rows_of_an_undisturbed_one(finished, study_file, tmp_path):
    folder = tmp_path / "digits"
    command = [sys.executable, "-m", "bequest", "run", str(study_file), "--folder", str(folder)]
    moments = random.Random(20201)
    kills = 0
    while kills < KILLS:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while not (folder / "lock").exists():  # the clock runs from the moment that work begins
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        time.sleep(moments.uniform(0.2, 3.0))
        if process.poll() is not None:
            pytest.fail("the study ended before it was killed often enough; make the moments earlier")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
    last = subprocess.run(command, capture_output=True, text=True)
    assert last.returncode == 0, last.stdout + last.stderr
    undisturbed, disturbed = tables(finished), tables(folder)
    assert undisturbed.keys() == disturbed.keys()
    for key, table in undisturbed.items():
        assert table.equals(disturbed[key]), f"{key} differs after interruptions"
    assert not list((folder / "partial").iterdir())
