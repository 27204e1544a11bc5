"""How is a training shown in TensorBoard?

Error, loss and learning rate of each split become scalars over epochs, in event files of their own folder. They are no
part of a result: they hold times, and a training that goes on writes them again from the metrics that it goes on from.
The records are written one by one, without the thread that TensorBoard's own writers start.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bequest.training.metrics_log import Rows


class EventFiles:
    """Metrics as TensorBoard scalars over epochs, as `error/validation`.

    Args:
        folder: gets the event file; made if it isn't there. Event files that are there are replaced.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"

    def begin(self, rows: Rows) -> None:
        """Remove older event files of this training and write these metrics."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._write([{"file_version": "brain.Event:2"}, *_scalars(rows)])

    def add(self, rows: Rows) -> None:
        """Append metrics, and hand them to the system before going on."""
        self._write(_scalars(rows))

    def _write(self, events: Any) -> None:
        event_kind, writer_kind = kinds()
        with self._file.open("ab") as file:
            writer = writer_kind(file)
            for event in events:
                writer.write(event_kind(wall_time=time.time(), **event).SerializeToString())


def kinds() -> tuple[Any, Any]:
    """Give TensorBoard's own kinds of an event and of a writer of records.

    Returns:
        `Event` and `RecordWriter`.

    Raises:
        ImportError: says what to install.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError as error:
        raise ImportError(
            f'`tensorboard: true` needs TensorBoard ({error}): pip install "bequest[tensorboard]", or leave it out'
        ) from None
    return Event, RecordWriter


def _scalars(rows: Rows) -> Iterator[Mapping[str, Any]]:
    """The events of an epoch; its learning rate is told once, not for each split."""
    for row in rows:
        named = {f"{name}/{row['split']}": row[name] for name in ("error", "loss")}
        if row["split"] == "train":
            named["learning_rate"] = row["learning_rate"]
        values = [{"tag": tag, "simple_value": float(value)} for tag, value in named.items()]
        yield {"step": row["epoch"], "summary": {"value": values}}
