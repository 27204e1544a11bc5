"""TensorBoard reads what was written: every scalar once, also after an interruption."""

import sys

import pytest

from bequest.training.event_files import EventFiles, kinds
from bequest.training.metrics_log import Told

ROWS = [
    {"epoch": epoch, "split": split, "error": 0.5 - epoch / 8, "loss": 1.0 + epoch, "learning_rate": 0.25 * epoch}
    for epoch in range(3)
    for split in ("train", "validation")
]


def read(folder):
    """All scalars in the event files of a folder, in order, by TensorBoard's own reader."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    found = []
    for path in folder.glob("events.out.tfevents.*"):
        for event in loader.LegacyEventFileLoader(str(path)).Load():
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return found


EXPECTED = [
    scalar
    for row in ROWS
    for scalar in [
        (f"error/{row['split']}", row["epoch"], row["error"]),
        (f"loss/{row['split']}", row["epoch"], row["loss"]),
        *([("learning_rate", row["epoch"], row["learning_rate"])] if row["split"] == "train" else []),
    ]
]


def test_every_scalar_is_there(tmp_path):
    told = Told([EventFiles(tmp_path / "run")])
    for count in (2, 4, 6):
        told(ROWS[:count])
    assert read(tmp_path / "run") == EXPECTED


def test_a_training_that_goes_on_has_no_scalar_twice(tmp_path):
    Told([EventFiles(tmp_path)])(ROWS[:5])
    (tmp_path / "mine.txt").write_text("stays")
    again = Told([EventFiles(tmp_path)])
    again(ROWS[:4])
    again(ROWS)
    assert read(tmp_path) == EXPECTED
    assert len(list(tmp_path.iterdir())) == 2


def test_without_tensorboard_the_way_out_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(ImportError, match=r'pip install "bequest\[tensorboard\]"'):
        kinds()
