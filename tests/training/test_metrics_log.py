"""Metrics are there line by line while a training goes on, and once each after an interruption."""

import json

import pytest
import torch
from torch import nn

from bequest.evaluation.tasks import task
from bequest.training.loop import Examples, train
from bequest.training.metrics_log import MetricsFile, Told
from bequest.training.recipe import Recipe

ROWS = [{"epoch": epoch, "split": "train", "loss": 1 / (1 + epoch)} for epoch in range(3)]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_new_rows_are_appended_and_what_was_there_before_is_gone(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 7}\n{"epo')  # of a training that was killed in the middle of a line
    told = Told([MetricsFile(path)])
    told(ROWS[:1])
    assert lines(path) == ROWS[:1]
    told(ROWS)
    assert lines(path) == ROWS
    told(ROWS)
    assert lines(path) == ROWS
    assert list(tmp_path.iterdir()) == [path]


def test_a_loss_that_is_not_finite_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    Told([MetricsFile(path)])([{"epoch": 0, "loss": float("nan"), "error": 0.5}, {"epoch": 1, "loss": float("inf")}])
    assert lines(path) == [{"epoch": 0, "loss": None, "error": 0.5}, {"epoch": 1, "loss": None}]


class Stop(Exception):
    pass


def learn(folder, stop=None):
    """Four epochs on noise, resumed where the state says; stopped after an epoch, before or after it was measured."""
    stream = torch.Generator().manual_seed(0)
    images, targets = torch.randint(0, 256, (8, 3, 4, 4), dtype=torch.uint8, generator=stream), torch.arange(8) % 2
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(2, 48, generator=stream) * 0.1)
        model[1].bias.zero_()
    told = Told([MetricsFile(folder / "metrics.jsonl")])

    def hear(rows):
        told(rows)
        if rows and stop == ("measured", rows[-1]["epoch"]):
            raise Stop

    def ended(epoch):
        if stop == ("ended", epoch):
            raise Stop

    return train(
        model,
        Examples(images, targets, 2, (0.5,) * 3, (0.5,) * 3),
        recipe=Recipe(epochs=4, batch_size=4, learning_rate=0.01),
        order_seed=0,
        task=task("classification"),
        watch={split: [((images.float() / 255 - 0.5) / 0.5, targets)] for split in ("train", "validation")},
        finally_watch={"test": [(images.float() / 255, targets)]},
        keep=lambda name, weights: None,
        state=folder / "state.safetensors",
        on_epoch=ended,
        on_measured=hear,
    ).metrics.to_dicts()


@pytest.mark.parametrize("stop", [("measured", 0), ("measured", 2), ("ended", 2), ("measured", 4), ("ended", 4)])
def test_after_an_interruption_every_epoch_and_split_stands_there_once(tmp_path, stop):
    with pytest.raises(Stop):
        learn(tmp_path, stop)
    interrupted = lines(tmp_path / "metrics.jsonl")
    assert len(interrupted) == 2 * (stop[1] + 1)  # flushed as soon as measured
    rows = learn(tmp_path)
    assert lines(tmp_path / "metrics.jsonl") == rows
    assert len({(row["epoch"], row["split"]) for row in rows}) == len(rows) == 11
    assert rows[: len(interrupted)] == interrupted
