"""What the steps of decisions read, and what they leave."""

import json
from dataclasses import replace

import polars as pl
import pytest
import torch

from bequest.data.pack import open_packed
from bequest.evaluation.predict import measure
from bequest.models.files import read_weights
from bequest.models.opening import open_model
from bequest.study.functions import soup_and_freeze
from bequest.study.functions.images import evaluation_batches
from bequest.study.step import Context

ARGUMENTS = {"target": "shades", "shots": None, "mean": [0.5] * 3, "std": [0.25] * 3, "seed": 3}
SOUP = ARGUMENTS | {"method": "greedy", "points": 3, "limit": 1.0, "runs": ["finetune/0", "finetune/1"]}
FREEZE = ARGUMENTS | {
    "model": "resnet8",
    "arm": "finetune",
    "checkpoint": "last",
    "runs": [],
    "init_seeds": [1, 2],
    "prefixes": 1,
    "rules": ["finetune", "probe"],
    "modules": {"mine": ["layer2.0"]},
    "learning_rates": [],
    "recipe": {"epochs": 1, "batch_size": 6},
}


def told(folder):
    return json.loads((folder / "decision.json").read_text()), pl.read_parquet(folder / "rows.parquet")


def test_a_soup_leaves_its_weights_and_what_was_measured(tmp_path, inputs_of, images):
    inputs = inputs_of("finetune/0", "finetune/1") | {"other/shades": images}
    soup_and_freeze.soup(tmp_path, SOUP, inputs, Context())
    about, rows = told(tmp_path)
    assert (about["name"], about["weights"], about["note"]) == ("soup", "soup.safetensors", None)
    assert set(rows["target"]) == {"shades"}
    model = open_model("resnet8", classes=2)
    model.load_state_dict(read_weights(tmp_path / "soup.safetensors"))
    test = evaluation_batches(open_packed(images.folder), "test", SOUP)
    called = rows.filter(metric="difference", split="test")["a"][0]
    claimed = rows.filter(pl.col("domain").is_null(), metric="error", a=called, split="test")["value"]
    assert claimed.to_list() == [measure(model, test)[1]]
    assert rows.filter(domain="shades", metric="error", a=called)["value"].to_list() == claimed.to_list()
    assert not rows.filter(a="wise-ft").height  # P is not known


def test_p_gives_its_body_and_the_soup_its_head(tmp_path, inputs_of, make_run):
    inputs = inputs_of("finetune/0", "finetune/1") | {"pretrained": make_run("randinit/7")}
    model = open_model("resnet8", classes=2)
    base = soup_and_freeze._base(inputs | {"run/x": _trained(inputs)}, model)
    assert base.keys() == {name for name in model.state_dict() if not name.startswith("fc.")}
    assert soup_and_freeze._base(inputs, model).keys() == model.state_dict().keys()  # weights that were given
    soup_and_freeze.soup(tmp_path, SOUP, inputs, Context())
    assert told(tmp_path)[1].filter(metric="error", a="wise-ft", split="validation").height == 11


def _trained(inputs):
    class Trained:
        def json(self, name):
            return {"recipe": {}}

    return Trained()


def test_without_validation_images_one_half_of_test_chooses(inputs_of, images):
    packed = open_packed(images.folder)
    hidden = replace(packed, splits=["test" if split == "validation" else split for split in packed.splits])
    first, second, note = soup_and_freeze._to_choose_and_to_test(hidden, ARGUMENTS)
    both = torch.cat([first.indices, second.indices])
    assert sorted(both.tolist()) == hidden.indices("test").tolist()
    assert abs(len(first.indices) - len(second.indices)) <= 1
    assert "half of the test images" in note


def test_freezing_starts_from_p_with_a_head_of_each_replica(tmp_path, inputs_of, make_run):
    inputs = inputs_of("finetune/0") | {"pretrained": make_run("randinit/7")}
    shares = []
    soup_and_freeze.freeze(tmp_path, FREEZE, inputs, Context(tell=shares.append))
    about, rows = told(tmp_path)
    assert about["weights"] == "freeze.safetensors"
    assert shares == sorted(shares) and shares[-1] == 1
    assert rows.filter(metric="flops")["a"].to_list() == ["finetune", "frozen to layer1.0", "mine", "probe"]
    assert set(rows.filter(metric="error", split="validation")["n"]) == {2}
    weights = read_weights(tmp_path / "freeze.safetensors")
    p = read_weights(inputs["pretrained"].folder / "checkpoints" / "last.safetensors")
    chosen = rows.filter(metric="error", split="test")["a"].to_list()
    frozen = {
        module for module in rows.filter(pl.col("a").is_in(chosen), metric="frozen", value=1.0)["module"].to_list()
    }
    if len(chosen) == 1 and frozen:
        for name, tensor in weights.items():
            assert torch.equal(tensor, p[name]) or not name.startswith(tuple(f"{one}." for one in frozen))


def test_rows_of_criticality_are_read(tmp_path, inputs_of, make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("criticality")
    modules = ["conv1", "layer1.0", "layer2.0", "layer3.0"]
    content = [{"a": "finetune/0", "module": m, "metric": "mu", "value": float(i)} for i, m in enumerate(modules)]
    pl.DataFrame(content).write_parquet(folder / "rows.parquet")
    from bequest.study.store import Artefact

    inputs = inputs_of("finetune/0") | {"pretrained": make_run("randinit/7"), "measured/criticality": Artefact(folder)}
    asked = FREEZE | {"rules": [], "prefixes": 0, "modules": {}, "init_seeds": [1]}
    soup_and_freeze.freeze(tmp_path, asked, inputs, Context())
    rows = told(tmp_path)[1]
    assert rows.filter(metric="flops")["a"].to_list() == ["least critical half", "uncritical"]
    assert rows.filter(a="uncritical", metric="frozen", value=1.0)["module"].to_list() == ["conv1"]


@pytest.mark.parametrize("rate", [0.2])
def test_the_rate_that_was_chosen_for_finetune_is_used(tmp_path, inputs_of, make_run, tmp_path_factory, rate):
    folder = tmp_path_factory.mktemp("choice")
    (folder / "choice.json").write_text(json.dumps({"learning_rate": rate}))
    from bequest.study.store import Artefact

    inputs = inputs_of("finetune/0") | {"pretrained": make_run("randinit/7"), "choice": Artefact(folder)}
    asked = FREEZE | {"rules": ["probe"], "prefixes": 0, "modules": {}, "init_seeds": [1]}
    soup_and_freeze.freeze(tmp_path, asked, inputs, Context())
    assert told(tmp_path)[1].filter(metric="learning_rate")["value"].to_list() == [rate]
