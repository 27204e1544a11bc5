"""Processes that train one run: a dead one ends the step with its signal, none is left, and the next try goes on."""

import io
import json
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from bequest.data.pack import pack
from bequest.data.source import Record, Source
from bequest.study.functions.together import _fault, _Process, check_devices, together
from bequest.study.functions.training import train_here
from bequest.study.step import Context
from bequest.study.store import Artefact

RECIPE = {"epochs": 3, "batch_size": 7, "learning_rate": 0.02, "augmentation": "crop", "mixup": 0.2}
RUN = {"model": "resnet8", "arm": "randinit", "recipe": RECIPE, "learning_rate": None, "init_seed": 1, "order_seed": 2}
RUN |= {"shots": None, "mean": [0.5] * 3, "std": [0.25] * 3}
CLOSE = {"rtol": 1e-3, "atol": 1e-5}  # as in docs/scale.md


def drawn(place, size):
    return np.random.default_rng(place).integers(0, 255, (size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images large enough for BatchNorm to be well conditioned: in 8 px four values a channel would be left."""
    splits = ["train"] * 20 + ["validation"] * 5 + ["test"] * 5
    records = tuple(Record(f"r{i}", f"g{i}", i % 2, partial(drawn, i), split) for i, split in enumerate(splits))
    folder = tmp_path_factory.mktemp("noise")
    pack(Source("noise", ("even", "odd"), records, "nobody, public domain"), folder, size=16, workers=1)
    return Artefact(folder)


def children():
    """The processes that this one has started."""
    listed = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    return {int(pid) for pids in listed for pid in pids}


def test_a_killed_process_ends_the_step_and_the_next_try_goes_on(images, tmp_path):
    before, folder, started = children(), tmp_path / "several", []
    folder.mkdir()

    def kill(share):
        started.extend(sorted(children() - before))
        os.kill(started[-1], signal.SIGKILL)

    with pytest.raises(RuntimeError, match=r"process 2 of 2 on cpu was ended by SIGKILL, .*; the others were stopped"):
        together(folder, RUN, {"images": images}, Context(tell=kill, devices=2))
    assert len(started) == 2 and children() == before
    shares = []
    train_here(folder, RUN, {"images": images}, Context(tell=shares.append))  # another number of them, too
    assert shares == pytest.approx([2 / 3, 1]), "it began again"
    (tmp_path / "one").mkdir()
    train_here(tmp_path / "one", RUN, {"images": images}, Context())
    assert sorted(path.name for path in folder.rglob("*")) == sorted(
        path.name for path in (tmp_path / "one").rglob("*")
    )
    one, several = (pl.read_parquet(place / "rows.parquet") for place in (tmp_path / "one", folder))
    assert several["error"].to_list() == one["error"].to_list()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == one["epoch"].to_list()
    for checkpoint in ("step-0", "last", "best"):
        found, expected = (
            load_file(p / "checkpoints" / f"{checkpoint}.safetensors") for p in (folder, tmp_path / "one")
        )
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, **CLOSE)


def test_an_error_is_told_with_its_kind_and_its_traceback(images, tmp_path):
    wild = RUN | {"std": [1e-38] * 3}  # the images are no longer numbers
    with pytest.raises(ArithmeticError, match=r"the loss became (nan|inf) in epoch") as caught:
        together(tmp_path, wild, {"images": images}, Context(devices=1))
    assert type(caught.value).__name__ == "Diverged"
    assert "in train_here" in str(caught.value.__cause__)


def ended(name, code, **failed):
    process = _Process(name, None, io.BytesIO(b"the last that it said"))
    process.code, process.failed = code, failed
    return process


def test_the_cause_is_told_and_not_what_followed_from_it():
    silence = {"kind": "Unanswered", "message": "gone", "errno": None, "at": 1.0, "traceback": ""}
    cause = {"kind": "ValueError", "message": "the cause", "errno": None, "at": 2.0, "traceback": ""}
    assert str(_fault([ended("a", 1, **silence), ended("b", 1, **cause)])) == "the cause"
    assert "b was ended by SIGSEGV" in str(_fault([ended("a", 1, **silence), ended("b", -signal.SIGSEGV)]))
    assert str(_fault([ended("a", -signal.SIGABRT), ended("b", 1, **cause)])) == "the cause"
    full = {"kind": "OSError", "message": "No space left on device", "errno": 28, "at": 1.0, "traceback": ""}
    assert _fault([ended("a", 1, **full)]).errno == 28
    assert "a ended with exit code 3" in str(_fault([ended("a", 3), ended("b", None)]))


def test_devices_that_are_not_there_are_refused():
    check_devices("cpu", 4)
    check_devices("cuda:1", 1)
    with pytest.raises(ValueError, match="devices is 2, and --device cuda:1 is one of them"):
        check_devices("cuda:1", 2)
    with pytest.raises(ValueError, match="devices is 65, but this machine has"):
        check_devices("cuda", 65)
