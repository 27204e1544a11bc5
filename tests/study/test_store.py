"""A result appears whole or not at all, and damage is found and named."""

import json
import os
import subprocess
import sys

import pytest

from bequest.study.step import Step
from bequest.study.store import MEGABYTE, Store, StoreError, told, write_whole

STEP = Step("train", 1, {"seed": 0}, {}, label="train")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "study")


def publish(store):
    (store.scratch(STEP) / "rows.txt").write_text("1 2 3")
    return store.publish(STEP, {"seconds": 1.0})


def test_a_published_result_has_its_identity_provenance_and_hashes(store):
    assert not store.has(STEP)
    artefact = publish(store)
    assert store.has(STEP)
    assert artefact.json("spec")["arguments"] == {"seed": 0}
    assert artefact.json("provenance") == {"seconds": 1.0}
    assert set(artefact.json("manifest")) == {"rows.txt", "spec.json", "provenance.json"}
    assert artefact.intact() is None
    assert not list((store.root / "partial").iterdir())


@pytest.mark.parametrize("name", ["rows.txt", "spec.json", "provenance.json"])
def test_one_flipped_byte_is_found_and_the_file_named(store, name):
    file = publish(store).folder / name
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    assert name in store.open(STEP).intact()


def test_a_missing_file_and_a_broken_manifest_are_found(store):
    folder = publish(store).folder
    (folder / "rows.txt").unlink()
    assert "rows.txt is missing" in store.open(STEP).intact()
    (folder / "manifest.json").write_text("{")
    assert "manifest.json cannot be read" in store.open(STEP).intact()


def test_an_unfinished_step_is_not_there(store):
    (store.scratch(STEP) / "rows.txt").write_text("1")
    assert not store.has(STEP)
    assert (Store(store.root).scratch(STEP) / "rows.txt").read_text() == "1"


def test_scratch_files_of_atomic_writers_are_not_published(store):
    (store.scratch(STEP) / "state.123.tmp").write_text("x")
    assert set(publish(store).json("manifest")) == {"rows.txt", "spec.json", "provenance.json"}


def test_a_failure_is_kept_until_the_step_succeeds(store):
    store.fail(STEP, {"message": "too warm", "traceback": "Traceback"})
    assert store.failure(STEP)["message"] == "too warm"
    publish(store)
    assert store.failure(STEP) is None


def test_a_second_driver_is_refused(store):
    code = (
        "import sys; from pathlib import Path; from bequest.study.store import Store\n"
        "with Store(Path(sys.argv[1])).only_driver(): pass"
    )
    with store.only_driver():
        other = subprocess.run([sys.executable, "-c", code, str(store.root)], capture_output=True, text=True)
        assert "another run is working in this folder" in other.stderr
    assert subprocess.run([sys.executable, "-c", code, str(store.root)]).returncode == 0


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "study").write_text("")
    with pytest.raises(StoreError, match="a file, not a folder"):
        Store(tmp_path / "study")


def test_errors_of_the_disk_become_one_message_also_when_said_in_words(tmp_path):
    for error in (OSError(28, "No space left on device"), RuntimeError("I/O error: No space left on device (os 28)")):
        with pytest.raises(StoreError, match="the disk is full"), told(tmp_path):
            raise error
    with pytest.raises(RuntimeError, match="something else"), told(tmp_path):
        raise RuntimeError("something else")


def test_write_whole_replaces_in_one_move(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode  # others may read a report, as any file


def test_the_manifest_is_plain_json(store):
    manifest = json.loads((publish(store).folder / "manifest.json").read_text())
    assert manifest["rows.txt"]["bytes"] == 5
    assert all(len(entry["sha256"]) == 64 for entry in manifest.values())


def test_leftovers_in_inner_folders_are_not_published(store):
    inner = store.scratch(STEP) / "checkpoints"
    inner.mkdir()
    (inner / ".last.safetensors.1234").write_text("half")
    (inner / "last.safetensors").write_text("whole")
    assert {name for name in publish(store).json("manifest") if "/" in name} == {"checkpoints/last.safetensors"}


def test_a_quick_look_finds_changed_small_files_and_changed_sizes_of_large_ones(store):
    large = store.scratch(STEP) / "large"
    large.write_bytes(bytes(MEGABYTE + 1))
    artefact = publish(store)
    assert artefact.intact(quickly=True) is None
    content = bytearray(MEGABYTE + 1)
    content[7] = 1
    (artefact.folder / "large").write_bytes(content)
    assert artefact.intact(quickly=True) is None
    assert "large has changed" in artefact.intact()
    (artefact.folder / "large").write_bytes(content[:-1])
    assert "large has changed" in artefact.intact(quickly=True)
    with pytest.raises(StoreError, match=r"large has changed .* makes it again"):
        store.checked(STEP)


def test_a_step_is_claimed_by_one_at_a_time(store):
    def refuse(holder):
        raise BlockingIOError(holder)

    with store.claim(STEP, refuse) as claim:
        assert store.claims()[STEP.key]["process"] == os.getpid()
        assert claim.own()
        with pytest.raises(BlockingIOError), store.claim(STEP, refuse):
            pass
    assert not store.claims()
