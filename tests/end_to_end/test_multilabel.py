"""A study of images with several labels, some of them missing, with nearly every analysis, through the command line."""

import csv

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from bequest.models.files import write_weights
from bequest.models.opening import open_model
from bequest.study.functions.measuring import open_predictions
from bequest.study.plan import plan
from bequest.study.reading import read_study
from bequest.study.store import Store

STUDY = """\
name: labels
model: resnet8
size: 16
source:
  weights: before.safetensors
targets:
  spots: {data: "csv:spots.csv?labels=red,green,blue"}
arms:
  replicas: 2
  learning_rates: {}
  same_init: false
  recipe: {epochs: 2, batch_size: 16, mixup: 0.2}
analyses:
  learning_curves:
  mistakes:
  similarity: {batch_size: 16}
  distance:
  barrier: {points: 3}
  basin: {samples: 4, splits: [test]}
  plane: {points: 3, budget: 1}
  connectivity: {epochs: 1, points: 3, pairs: 1}
  matching: {points: 3}
  criticality: {replicas: 1, draws: 1, images: 12}
  valley: {points: 2, draws: 1}
  block_shuffle: {sizes: [8]}
  spectrum:
"""


def draw(folder):
    """Images with a red, a green or a blue spot, or several; the CSV has 0, 1 and blanks."""
    stream = np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for number in range(80):
        labels = stream.integers(0, 2, 3)
        pixels = stream.integers(0, 60, (16, 16, 3))
        for channel in np.flatnonzero(labels):
            x, y = stream.integers(0, 11, 2)
            pixels[x : x + 5, y : y + 5, channel] = 255
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        shown = ["" if stream.random() < 0.1 else str(label) for label in labels]
        rows.append([f"{number}.png", *shown])
    with (folder / "spots.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "red", "green", "blue"], *rows])


@pytest.fixture(scope="module")
def done(tmp_path_factory, bequest):
    folder = tmp_path_factory.mktemp("labels")
    draw(folder / "images")
    study = folder / "images" / "study.yaml"
    study.write_text(STUDY)
    before = open_model("resnet8", classes=5, seed=0).state_dict()
    write_weights(before, folder / "images" / "before.safetensors")
    ran = bequest("run", study, "--folder", folder / "out")
    return study, folder / "out", ran


def test_every_analysis_is_there_and_nothing_failed(done):
    study, folder, ran = done
    assert ran.returncode == 0, ran.stdout + ran.stderr
    planned, store = plan(read_study(study)), Store(folder)
    for (analysis, _), step in planned.measured.items():
        rows = store.open(step).rows()
        chance = rows.filter(metric="chance_accuracy")["value"].unique().to_list()
        assert chance == ([] if analysis in ("plane", "matching", "valley", "spectrum") else [0.5]), analysis
    assert (folder / "report.html").stat().st_size > 100_000


def test_the_errors_are_one_minus_auroc_of_what_is_kept(done):
    study, folder, _ = done
    planned, store = plan(read_study(study)), Store(folder)
    step = planned.measured["mistakes", "spots"]
    for name in ("finetune/0", "randinit/1"):
        made = open_predictions(store.open(step.inputs[f"predictions/{name}"]))
        areas = []
        for place in range(3):
            known = ~made.targets[:, place].isnan()
            areas.append(roc_auc_score(made.targets[known, place], made.outputs[known, place]))
        metrics = store.open(planned.runs["spots"][name]).rows()
        test = metrics.filter(pl.col("split") == "test")["error"][-1]
        assert test == pytest.approx(1 - sum(areas) / 3, abs=1e-6)


def test_shots_and_another_task_are_refused(done):
    study, _, _ = done
    for change, said in (
        ("targets.spots.shots=2", "targets.spots.shots is 2, but shots are examples of one class each"),
        ("targets.spots.task=classification", "has several labels an example; leave it out, or write multilabel"),
    ):
        with pytest.raises(ValueError, match=said):
            plan(read_study(study, [change]))
