"""An analysis of another package gets all that a built-in one gets, and leaves its rows as they do."""

import json

import polars as pl
import pytest
import torch

from bequest.study.functions.plugins import plugged
from bequest.study.step import Context

SEEING = """\
'''What was given?'''
import bequest
from pydantic import BaseModel
name, version = "seeing", 1
class Options(BaseModel):
    least: int = 0
def measure(material, options):
    global seen
    seen = material
    return bequest.Result(name, bequest.table(name, [{"a": run, "metric": "least", "value": options.least}
                                                     for run in material.weights()]))
def chart(rows): ...
def verdict(rows): ...
"""
ARGUMENTS = {"analysis": "seeing", "version": 1, "options": {"least": 3}, "seed": 5, "target": "shades", "shots": 4}
ARGUMENTS |= {"mean": [0.5] * 3, "std": [0.25] * 3, "shots_seed": 0, "runs": ["finetune/0", "randinit/0", "randinit/1"]}


@pytest.fixture
def inputs(make_run, images):
    runs = {f"run/{name}": make_run(name) for name in ("finetune/0", "randinit/0")}
    return runs | {"images": images, "pretrained": make_run("finetune/9")}


@pytest.fixture
def seeing(install):
    install("some_seeing", SEEING, {"seeing": "some_seeing"})


def test_it_gets_model_runs_images_by_split_task_and_seed(inputs, seeing, tmp_path):
    told = []
    plugged(tmp_path, ARGUMENTS, inputs, Context(tell=told.append))
    import some_seeing

    seen = some_seeing.seen
    assert list(seen.runs) == ["finetune/0", "randinit/0"]
    assert seen.weights()["finetune/0"].keys() == seen.model.state_dict().keys()
    start = seen.weights("step-0")["randinit/0"]["conv1.weight"]
    assert not start.equal(seen.weights()["randinit/0"]["conv1.weight"])
    assert seen.weights("no-such") == {}
    assert "last" in seen.pretrained.checkpoints
    assert {split: sum(len(t) for _, t in batches) for split, batches in seen.batches.items()} == {
        "train": 8,  # four shots of two classes
        "validation": 2,
        "test": 8,
    }
    shown, targets = next(iter(seen.batches["test"]))
    assert (shown.shape, shown.dtype, targets.tolist()) == ((8, 3, 8, 8), torch.float32, [0, 1] * 4)
    assert (seen.task.name, seen.classes, seen.chance, seen.seed) == ("classification", ("dark", "light"), 0.5, 5)
    assert [module.name for module in seen.modules][-1] == "fc"
    seen.tell(0.5)
    assert told == [0.5]


def test_its_rows_have_the_target_and_the_runs_that_are_missing(inputs, seeing, tmp_path):
    del inputs["pretrained"]
    plugged(tmp_path, ARGUMENTS, inputs, Context())
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    assert rows["target"].unique().to_list() == ["shades"]
    assert rows.filter(pl.col("metric") == "least")["value"].to_list() == [3.0, 3.0]
    assert rows.filter(pl.col("metric") == "missing_run")["a"].to_list() == ["randinit/1"]
    assert json.loads((tmp_path / "plugin.json").read_text()) == {"analysis": "seeing", "package": "some-seeing 1.0"}


def test_another_version_than_the_planned_one_is_refused(inputs, seeing, tmp_path):
    with pytest.raises(ValueError, match=r"the plan has version 2 of the analysis seeing, and some-seeing 1\.0, which"):
        plugged(tmp_path, ARGUMENTS | {"version": 2}, inputs, Context())
    assert not list(tmp_path.glob("*.parquet"))
