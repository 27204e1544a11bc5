"""A disk that fills up: one message, nothing lost, and the run goes on when there is room."""

import subprocess

import polars as pl
import pytest


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB; it needs the right to mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs: run the tests as root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(small_disk, finished, study_file, bequest):
    folder = small_disk / "digits"
    ran = bequest("run", study_file, "--folder", folder)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "the disk is full; what is done is kept, make room and run again" in ran.stderr
    assert "Traceback" not in ran.stderr
    kept = {path.name for path in (folder / "steps").iterdir()}
    assert kept
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    ran = bequest("run", study_file, "--folder", folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(kept)} were there" in ran.stdout
    for path in (finished / "steps").glob("*/rows.parquet"):
        assert pl.read_parquet(path).equals(pl.read_parquet(folder / "steps" / path.parent.name / "rows.parquet"))
