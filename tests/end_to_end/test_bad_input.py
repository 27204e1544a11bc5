"""Bad input: one message that says what, where and the way out; exit code 2; nothing half written."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

CASES = {
    "an unknown key": (["arms.replica=2"], "unknown key `arms.replica`; did you mean `replicas`?"),
    "an unknown analysis": (["analyses.barier={}"], "unknown key `analyses.barier`; did you mean `barrier`?"),
    "a value out of range": (["barrier.points=2"], "`analyses.barrier.points` is 2"),
    "an unknown model": (["model=resnet9"], "did you mean"),
    "an unknown domain": (["targets.handwriting.data=digit"], "digits"),
    "a folder that is not there": (["targets.handwriting.data=folder:nowhere"], "nowhere"),
    "too many shots": (["targets.handwriting.shots=100000"], "shots"),
    "weights that are not there": (["source={weights: none.safetensors}"], "none.safetensors"),
    "an unknown device": (["--device", "cudda"], "--device cudda"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_message_exit_code_two_and_nothing_written(case, study_file, bequest, tmp_path):
    words, expected = CASES[case]
    folder = tmp_path / "digits"
    ran = bequest("run", study_file, *words, "--folder", folder, cwd=tmp_path)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert expected in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    assert "Traceback" not in ran.stdout + ran.stderr
    assert not folder.exists()


def pictures(folder, counts):
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((16, 16, 3), 10 * number, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


def test_an_empty_folder_and_a_class_of_one_image_are_named(study_file, bequest, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = bequest("run", study_file, f"targets.handwriting.data=folder:{tmp_path / 'empty'}", cwd=tmp_path)
    assert ran.returncode == 2
    assert "empty" in ran.stderr
    pictures(tmp_path / "few", {"cat": 5, "dog": 1})
    ran = bequest("run", study_file, f"targets.handwriting.data=folder:{tmp_path / 'few'}", cwd=tmp_path)
    assert ran.returncode == 2
    assert "dog" in ran.stderr


def test_weights_of_another_network_are_named(study_file, bequest, tmp_path):
    from bequest.models.files import write_weights
    from bequest.models.opening import open_model

    write_weights(open_model("fixup_resnet8", classes=3).state_dict(), tmp_path / "other.safetensors")
    ran = bequest("run", study_file, f"source={{weights: {tmp_path / 'other.safetensors'}}}", cwd=tmp_path)
    assert ran.returncode == 2
    assert "the weights are not of this model" in ran.stderr


def test_a_second_run_in_the_same_folder_is_refused(study_file, bequest, tmp_path, finished):
    from bequest.study.store import Store

    with Store(finished).only_driver():
        ran = bequest("run", study_file, "--folder", finished)
    assert ran.returncode == 2
    assert "another run is working in this folder" in ran.stderr


def test_a_read_only_place_is_named(study_file, bequest):
    ran = bequest("run", study_file, "--folder", "/proc/digits")
    assert ran.returncode == 2
    assert "/proc/digits" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_place_without_a_study_is_named(bequest, tmp_path):
    for command in ("status", "show", "report"):
        ran = bequest(command, tmp_path)
        assert ran.returncode == 2
        assert "no study here" in ran.stderr
    ran = bequest("export", tmp_path, "--to", "word")
    assert ran.returncode == 2
    assert "parquet, csv, latex, pdf" in ran.stderr and not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(study_file):
    command = [sys.executable, "-m", "bequest", "run", str(study_file), "arms.replica=2", "--debug"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr
