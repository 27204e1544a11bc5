"""A training of a study, done again on two devices through the command line, is what it was on one."""

import json
import shutil

import torch
from typer.testing import CliRunner

from bequest.cli import app
from bequest.models.files import read_weights, write_weights
from bequest.models.opening import open_model

STUDY = """\
name: devices
model: resnet8
size: 16
source: {weights: p.safetensors}
targets:
  handwriting: {data: digits, shots: 2}
arms:
  replicas: 1
  same_init: false
  learning_rates: {}
  recipe: {epochs: 2, batch_size: 7, learning_rate: 0.01}
analyses: {distance: }
"""
CLOSE = {"rtol": 1e-3, "atol": 1e-5}  # as in docs/scale.md


def test_what_one_device_has_trained_is_there_for_two_and_the_same_when_they_do_it(tmp_path):
    write_weights(open_model("resnet8", classes=10, seed=4).state_dict(), tmp_path / "p.safetensors")
    (tmp_path / "study.yaml").write_text(STUDY)
    command = ["run", str(tmp_path / "study.yaml"), "--folder", str(tmp_path / "out"), "--device", "cpu"]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    trained = sorted((tmp_path / "out" / "steps").glob("train-*"))
    assert [json.loads((step / "provenance.json").read_text())["devices"] for step in trained] == [1, 1]
    lost = trained[0]
    one = read_weights(lost / "checkpoints" / "last.safetensors")
    shutil.rmtree(lost)
    ran = CliRunner().invoke(app, [*command, "resources.training.devices=2"])
    assert ran.exit_code == 0 and "1 steps done" in ran.output, ran.output
    assert json.loads((lost / "provenance.json").read_text())["devices"] == 2
    two = read_weights(lost / "checkpoints" / "last.safetensors")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, **CLOSE)
