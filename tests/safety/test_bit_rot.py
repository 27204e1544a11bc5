"""A study whose files rot: the damage is named, the step is done again, and no number changes."""

import json
import shutil

import pytest

from bequest.study.store import MEGABYTE

KINDS = {  # a file of each kind, and in which step's folder it lies
    "rows.parquet": "learning_curves-*",
    "run.json": "train-*",
    "checkpoints/last.safetensors": "train-*",
    "checkpoints/step-0.safetensors": "train-*",
    "choice.json": "choose-*",
    "predictions.safetensors": "predict-*",
    "arrays.safetensors": "similarity-*",
    "index.json": "images-*",
    "spec.json": "mistakes-*",
    "provenance.json": "mistakes-*",
    "manifest.json": "similarity-*",
    "report.html": "report-*",
}


def flip(path, place=0.5):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit": flip,
    "a lost end": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "nothing left": lambda path: path.write_bytes(b""),
    "a missing file": lambda path: path.unlink(),
}


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "digits")


def one(folder, kind):
    return sorted((folder / "steps").glob(f"{KINDS[kind]}/{kind}"))[0]


def lines_about(output, path):
    return [line for line in output.splitlines() if str(path) in line and "again" in line]


@pytest.mark.parametrize("turn", [0, 1])
def test_every_kind_of_file_is_found_named_and_made_again(turn, sound, folder, bequest, tables):
    broken, steps = [], set()
    for number, kind in enumerate(sorted(KINDS, reverse=bool(turn))):
        found = sorted((folder / "steps").glob(f"{KINDS[kind]}/{kind}"))
        # one file a step, so that each has to be found by itself
        path = next((path for path in found if path.relative_to(folder).parts[1] not in steps), None)
        if path is not None:
            steps.add(path.relative_to(folder).parts[1])
            list(DAMAGE.values())[number % len(DAMAGE)](path)
            broken.append(path)
    assert len(broken) >= 8
    ran = bequest("run", sound.parent / "s.yaml", "--folder", folder)
    assert ran.exit_code == 0, ran.output
    for path in broken:
        assert lines_about(ran.output, path), (path, ran.output)
    before, after = tables(sound), tables(folder)
    assert before.keys() == after.keys()
    assert all(before[key].equals(after[key]) for key in before)
    again = bequest("run", sound.parent / "s.yaml", "--folder", folder)
    assert "0 steps done" in again.output, again.output


def test_looking_at_a_damaged_study_names_the_file_and_shows_no_number_of_it(folder, sound, bequest):
    for number, kind in enumerate(kind for kind in KINDS if kind != "report.html"):
        path = one(folder, kind)
        list(DAMAGE.values())[number % len(DAMAGE)](path)
        ran = bequest("report", folder)
        assert ran.exit_code == 2, kind
        assert str(path) in ran.output and "makes it again" in ran.output
        assert len(ran.output.strip().splitlines()) == 1
        if kind == "rows.parquet":
            shown = bequest("show", folder)
            assert shown.exit_code == 2 and str(path) in shown.output
            assert "damaged" in bequest("status", folder).output
        shutil.copy(sound / path.relative_to(folder), path)
    assert bequest("report", folder).exit_code == 0


def test_large_arrays_are_read_whole_before_they_are_used(folder, bequest, sound):
    pixels = next(path for path in (folder / "steps").glob("*/pixels.npy") if path.stat().st_size > MEGABYTE)
    flip(pixels)
    ran = bequest("report", folder)
    assert ran.exit_code == 2 and f"{pixels} has changed since it was written" in ran.output
    for step in (folder / "steps").glob("learning_curves-*"):
        shutil.rmtree(step)  # something that reads them has to be done
    ran = bequest("run", sound.parent / "s.yaml", "--folder", folder)
    assert ran.exit_code == 0, ran.output
    assert lines_about(ran.output, pixels), ran.output
    assert pixels.read_bytes() == (sound / pixels.relative_to(folder)).read_bytes()


def test_files_that_no_step_wrote_are_found(folder, bequest, sound):
    run = next((folder / "steps").glob("train-*"))
    shutil.copy(run / "checkpoints" / "last.safetensors", run / "checkpoints" / "epoch-1.safetensors")
    (run / ".hidden").write_text("as systems leave them")
    assert "damaged" in bequest("status", folder).output
    ran = bequest("run", sound.parent / "s.yaml", "--folder", folder)
    assert lines_about(ran.output, run / "checkpoints" / "epoch-1.safetensors")
    assert not (run / "checkpoints" / "epoch-1.safetensors").exists()


def test_a_result_of_another_version_in_a_steps_place_is_found(folder, bequest, sound):
    from bequest.study.store import file_hash

    place = next((folder / "steps").glob("mistakes-*"))
    spec = json.loads((place / "spec.json").read_text())
    (place / "spec.json").write_text(json.dumps(spec | {"version": spec["version"] - 1}))
    manifest = json.loads((place / "manifest.json").read_text())
    entry = {"sha256": file_hash(place / "spec.json"), "bytes": (place / "spec.json").stat().st_size}
    (place / "manifest.json").write_text(json.dumps(manifest | {"spec.json": entry}))
    ran = bequest("run", sound.parent / "s.yaml", "--folder", folder)
    assert ran.exit_code == 0, ran.output
    assert any("another version" in line for line in lines_about(ran.output, place / "spec.json")), ran.output


def test_a_damaged_note_of_a_failure_is_told(folder, bequest):
    step = next((folder / "steps").glob("mistakes-*"))
    note = folder / "failed" / step.name / "failure.json"
    note.parent.mkdir()
    shutil.rmtree(step)
    for command, content in (("status", b"\xff"), ("show", b'{"message": 3}'), ("report", b"")):
        note.write_bytes(content)
        ran = bequest(command, folder)
        assert ran.exit_code == 0, ran.output
    assert "cannot be read" in (folder / "report.html").read_text()


def test_a_study_file_that_rotted_is_named(folder, bequest):
    (folder / "study.yaml").write_bytes((folder / "study.yaml").read_bytes().replace(b"size", b"siz\xe5"))
    ran = bequest("report", folder)
    assert ran.exit_code == 2 and "study.yaml:" in ran.output


def test_the_page_in_the_folder_is_replaced_when_it_is_not_that_of_the_store(folder, bequest, sound):
    (folder / "report.html").write_bytes(b"\xff\xfe")
    ran = bequest("run", sound.parent / "s.yaml", "--folder", folder)
    assert ran.exit_code == 0, ran.output
    assert (folder / "report.html").read_bytes() == (sound / "report.html").read_bytes()
