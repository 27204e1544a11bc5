"""One small study on digits, carried out once through the command line, that the end-to-end tests look at."""

import subprocess
import sys

import pytest

STUDY = """\
name: digits
title: What do printed digits bequeath to handwritten ones?
model: resnet8
size: 16
source:
  data: [fonts]
  recipe: {epochs: 2, batch_size: 64, learning_rate: 0.1}
targets:
  handwriting: {data: digits, shots: 2}
arms:
  replicas: 2
  learning_rates: {finetune: [0.02, 0.05], randinit: [0.05, 0.1]}
  recipe: {epochs: 3, batch_size: 10, augmentation: crop}
analyses:
  learning_curves:
  mistakes:
  similarity: {batch_size: 64}
  distance:
  barrier: {points: 5}
"""


@pytest.fixture(scope="session")
def bequest():
    """Run the command line in a process of its own; gives what subprocess.run gives."""

    def run(*words, cwd=None):
        command = [sys.executable, "-m", "bequest", *(str(word) for word in words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd)

    return run


@pytest.fixture(scope="session")
def study_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "digits.yaml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory, study_file, bequest):
    """The folder of the study, carried out without disturbance."""
    folder = tmp_path_factory.mktemp("finished") / "digits"
    ran = bequest("run", study_file, "--folder", folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"report: {folder / 'report.html'}" in ran.stdout
    return folder
