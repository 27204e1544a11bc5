"""Disks that are full at any moment, read-only, or refuse large files: one message, nothing lost, and on it goes."""

import resource
import shutil
import subprocess

import pytest


def mounted(*words):
    if subprocess.run(["mount", *map(str, words)], capture_output=True).returncode:
        pytest.skip("needs the right to mount: run the tests as root")


def refused(ran, said):
    assert ran.exit_code == 2, ran.output
    assert said in ran.output.splitlines()[-1], ran.output


def test_a_disk_that_grows_bit_by_bit_is_full_at_many_moments(sound, tmp_path, bequest, tables):
    place = tmp_path / "small"
    place.mkdir()
    mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs", place)
    folder, full, done = place / "digits", 0, set()
    try:
        for size in range(64, 40_000, 1_500):
            subprocess.run(["mount", "-o", f"remount,size={size}k", str(place)], check=True)
            ran = bequest("run", sound.parent / "s.yaml", "--folder", folder)
            if ran.exit_code == 0:
                break
            refused(ran, "the disk is full; what is done is kept, make room and run again")
            full += 1
            there = {path.name for path in (folder / "steps").glob("*") if (path / "manifest.json").is_file()}
            assert done <= there, "something that was done is lost"
            done = there
        assert full >= 3
        before, after = tables(sound), tables(folder)
        assert before.keys() == after.keys() and all(before[key].equals(after[key]) for key in before)
        assert not list((folder / "partial").iterdir()) and not list((folder / "failed").iterdir())
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # arrays are still mapped into this process


def test_a_read_only_study_can_be_looked_at_and_not_written(sound, tmp_path, bequest):
    place = tmp_path / "read-only"
    shutil.copytree(sound, place)
    (place / "failed").rmdir()  # as copying tools leave empty folders out
    mounted("--bind", place, place)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        for command in ("status", "show"):
            ran = bequest(command, place)
            assert ran.exit_code == 0, ran.output
        refused(bequest("report", place), "the disk is read-only; give --folder a place that can be written to")
        refused(bequest("run", sound.parent / "s.yaml", "--folder", place), "the disk is read-only")
        refused(bequest("run", sound.parent / "s.yaml", "--folder", place / "new"), "the disk is read-only")
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_files_larger_than_allowed_are_told_and_the_run_goes_on(sound, tmp_path, bequest, tables):
    words = ["run", sound.parent / "s.yaml", "--folder", tmp_path / "digits"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        refused(bequest(*words), "a file would be larger than is allowed here; what is done is kept")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert bequest(*words).exit_code == 0
    before, after = tables(sound), tables(tmp_path / "digits")
    assert before.keys() == after.keys() and all(before[key].equals(after[key]) for key in before)
