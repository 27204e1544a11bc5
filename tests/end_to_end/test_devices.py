"""A study that asks for two devices a training is run by `bequest run`, and finds its results there with one."""

import json

STUDY = """\
name: devices
model: resnet8
size: 16
source: {{weights: {weights}}}
targets:
  handwriting: {{data: digits, shots: 2}}
arms:
  replicas: 1
  same_init: false
  learning_rates: {{}}
  recipe: {{epochs: 1, batch_size: 7}}
analyses: {{distance: }}
resources: {{training: {{devices: 2}}}}
"""


def test_two_devices_train_each_run_and_are_no_part_of_what_it_is(bequest, tmp_path):
    from bequest.models.files import write_weights
    from bequest.models.opening import open_model

    write_weights(open_model("resnet8", classes=10, seed=4).state_dict(), tmp_path / "p.safetensors")
    (tmp_path / "study.yaml").write_text(STUDY.format(weights="p.safetensors"))
    command = ("run", tmp_path / "study.yaml", "--folder", tmp_path / "out", "--device", "cpu")
    ran = bequest(*command)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = [json.loads(path.read_text()) for path in (tmp_path / "out" / "steps").glob("*/provenance.json")]
    trained = [json.loads(path.read_text()) for path in (tmp_path / "out" / "steps").glob("train-*/provenance.json")]
    assert [one["devices"] for one in trained] == [2, 2]
    assert sum(one["devices"] == 1 for one in found) == len(found) - 2
    again = bequest(*command, "resources.training.devices=1")
    assert "0 steps done" in again.stdout, again.stdout + again.stderr
