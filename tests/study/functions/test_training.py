"""What training steps leave, and how a learning rate is chosen."""

import json

import polars as pl
import pytest
import torch

from bequest.models.files import write_weights
from bequest.study.functions.training import Checkpoints, choose
from bequest.study.step import Context
from bequest.study.store import Artefact
from bequest.training.trajectory import metrics_table


def trial(folder, error, loss, epochs=3):
    """A finished run whose last epoch has this validation error, after better ones that must not count."""
    folder.mkdir()
    rows = [{"epoch": e, "split": "validation", "error": 0.0, "loss": 0.0} for e in range(epochs)]
    rows.append({"epoch": epochs, "split": "validation", "error": error, "loss": loss})
    metrics_table(rows).write_parquet(folder / "rows.parquet")
    return Artefact(folder)


def chosen(tmp_path, trials, candidates):
    (tmp_path / "out").mkdir()
    choose(tmp_path / "out", {"candidates": candidates}, trials, Context())
    rate = json.loads((tmp_path / "out" / "choice.json").read_text())["learning_rate"]
    return rate, pl.read_parquet(tmp_path / "out" / "rows.parquet")


def test_the_lowest_error_after_the_last_epoch_wins_and_the_loss_breaks_ties(tmp_path):
    trials = {
        "low": trial(tmp_path / "low", 0.3, 1.0),
        "middle": trial(tmp_path / "middle", 0.2, 0.9),
        "high": trial(tmp_path / "high", 0.2, 0.8),
    }
    rate, rows = chosen(tmp_path, trials, {"low": 0.01, "middle": 0.1, "high": 1.0})
    assert rate == 1.0
    assert rows.filter("chosen")["learning_rate"].to_list() == [1.0]
    assert rows["error"].to_list() == [0.3, 0.2, 0.2]


def test_a_candidate_that_diverged_is_shown_and_not_chosen(tmp_path):
    trials = {"low": trial(tmp_path / "low", 0.9, 3.0)}
    rate, rows = chosen(tmp_path, trials, {"low": 0.01, "high": 10.0})
    assert rate == 0.01
    assert rows.filter("failed")["learning_rate"].to_list() == [10.0]


def test_checkpoints_are_read_when_asked_for_and_a_missing_one_is_named(tmp_path):
    write_weights({"a": torch.ones(2)}, tmp_path / "last.safetensors")
    write_weights({"a": torch.zeros(2)}, tmp_path / "step-0.safetensors")
    checkpoints = Checkpoints(tmp_path)
    assert list(checkpoints) == ["last", "step-0"]
    assert len(checkpoints) == 2
    assert checkpoints["last"]["a"].tolist() == [1, 1]
    with pytest.raises(KeyError, match="no checkpoint 'best'; there are last, step-0"):
        checkpoints["best"]
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    assert "broken" in checkpoints and "best" not in checkpoints  # told without reading
