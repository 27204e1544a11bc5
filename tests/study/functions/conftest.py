"""Runs and images as the steps of a study leave them, made by hand: nothing is trained."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from bequest.data.pack import pack
from bequest.data.source import Record, Source
from bequest.models.files import write_weights
from bequest.models.opening import open_model
from bequest.study.store import Artefact
from bequest.training.trajectory import metrics_table
from bequest.weights.algebra import lerp

ARGUMENTS = {"target": "shades", "shots": None, "mean": [0.5] * 3, "std": [0.25] * 3, "seed": 3, "batch_size": 8}


def shade(place, size):
    """Light images of one class, dark ones of the other."""
    drawn = np.random.default_rng(place).integers(0, 150, (size, size, 3))
    return (drawn + 100 * (place % 2)).astype(np.uint8)


def start_of(arm, number):
    """Fine-tunes share a body and differ in the head; random inits differ in everything."""
    own = open_model("resnet8", classes=2, seed=number + 1).state_dict()
    if arm == "randinit":
        return own
    body = open_model("resnet8", classes=2, seed=99).state_dict()
    return {name: own[name] if name.startswith("fc.") else body[name] for name in body}


def away(weights, seed, frozen=False):
    """Weights a little apart; of a frozen body only the head."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor + 0.05 * torch.randn(tensor.shape, generator=generator)
        if tensor.is_floating_point() and "running" not in name and (not frozen or name.startswith("fc."))
        else tensor
        for name, tensor in weights.items()
    }


@pytest.fixture(scope="session")
def make_run(tmp_path_factory):
    """Leave a run: `make_run("finetune/0")`, with the epochs whose checkpoints it kept, of eight; the best is 4."""

    def make(name, kept=(1, 2, 4)):
        arm, number = name.split("/")
        folder = tmp_path_factory.mktemp(name.replace("/", "-"))
        start = start_of(arm, int(number))
        last = away(start, 7 * int(number) + len(arm), frozen=arm == "probe")
        (folder / "checkpoints").mkdir()
        for epoch in (0, *kept, 4, 8):
            named = {0: ["step-0"], 4: ["best"], 8: ["last"]}.get(epoch, [])
            for checkpoint in (*named, *[f"epoch-{epoch}"] * (epoch in kept)):
                write_weights(lerp(start, last, epoch / 8), folder / "checkpoints" / f"{checkpoint}.safetensors")
        rows = [{"epoch": e, "split": "validation", "error": abs(e - 4) / 10, "loss": 1.0} for e in range(9)]
        metrics_table(rows).write_parquet(folder / "rows.parquet")
        about = {"arm": arm, "model": "resnet8", "classes": ["dark", "light"], "best_epoch": 4}
        (folder / "run.json").write_text(json.dumps(about))
        return Artefact(folder)

    return make


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Twelve training images and eight for the test."""
    splits = ["train"] * 12 + ["validation"] * 2 + ["test"] * 8
    records = tuple(Record(f"r{i}", f"g{i}", i % 2, partial(shade, i), split) for i, split in enumerate(splits))
    folder = tmp_path_factory.mktemp("shades")
    pack(Source("shades", ("dark", "light"), records, "nobody, public domain"), folder, size=8, workers=1)
    return Artefact(folder)


@pytest.fixture(scope="session")
def inputs_of(make_run, images):
    """Give a step's inputs: those runs, made once, and the images."""
    made = {}

    def inputs(*names):
        for name in names:
            if name not in made:
                made[name] = make_run(name)
        return {f"run/{name}": made[name] for name in names} | {"images": images}

    return inputs


@pytest.fixture
def measured(tmp_path, inputs_of):
    """Carry out a step on some runs: `measured(function, names, **arguments)` gives its rows."""
    import polars as pl

    from bequest.study.step import Context

    def measure(function, names, **arguments):
        told = []
        given = ARGUMENTS | {"runs": list(names)} | arguments
        function(tmp_path, given, inputs_of(*names), Context(tell=told.append))
        assert told == sorted(told)
        return pl.read_parquet(tmp_path / "rows.parquet")

    return measure
