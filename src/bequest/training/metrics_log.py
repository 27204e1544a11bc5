"""How can a training be followed while it goes on?

Each measured epoch and split is one line of `metrics.jsonl`, written at once: `tail -f` shows it, any tool reads it. A
training that goes on after an interruption begins the file again with the lines that it goes on from, so that no epoch
stands there twice and none is missing.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

Rows = Sequence[Mapping[str, Any]]


class Log(Protocol):
    """Keeps metrics somewhere."""

    def begin(self, rows: Rows) -> None:
        """Hold these rows and no others, whatever was there."""

    def add(self, rows: Rows) -> None:
        """Append rows."""


class Told:
    """Tells logs what is new in metrics that grow.

    Args:
        logs: those that are told.
    """

    def __init__(self, logs: Iterable[Log]) -> None:
        self._logs = tuple(logs)
        self._count: int | None = None

    def __call__(self, rows: Rows) -> None:
        """Take all metrics so far; the first time, those that a training goes on from."""
        for log in self._logs:
            log.begin(rows) if self._count is None else log.add(rows[self._count :])
        self._count = len(rows)


class MetricsFile:
    """Metrics as lines of JSON.

    Args:
        path: the file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, rows: Rows) -> None:
        """Write the file anew, in one move: a kill leaves the old lines or the new ones."""
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        aside.write_text(_lines(rows), encoding="utf-8")
        aside.replace(self._path)

    def add(self, rows: Rows) -> None:
        """Append lines, and hand them to the system before going on."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_lines(rows))


def _lines(rows: Rows) -> str:
    return "".join(json.dumps({name: _plain(value) for name, value in row.items()}) + "\n" for row in rows)


def _plain(value: Any) -> Any:
    """JSON has no word for a number that is not finite, as the loss of a bad start."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
