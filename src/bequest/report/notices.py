"""When is a person told what has to be known of a run? Once its input is sound, and not in front of an error in it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGER = "bequest"


class _Held(logging.Handler):
    """Keeps lines until it is opened; then they go to standard error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: list[str] | None = []

    def emit(self, record: logging.LogRecord) -> None:
        if self._kept is None:
            print(self.format(record), file=sys.stderr)
        else:
            self._kept.append(self.format(record))

    def open(self) -> None:
        for line in self._kept or ():
            print(line, file=sys.stderr)
        self._kept = None


@contextmanager
def held(*, quiet: bool = False) -> Iterator[None]:
    """Keep the warnings of Bequest until `tell` or the end; an exception comes without them.

    Args:
        quiet: where results are only looked at: what has to be known of a run was said when it ran.
    """
    handler, logger = _Held(), logging.getLogger(_LOGGER)
    logger.addHandler(handler)
    try:
        yield
        if not quiet:
            handler.open()
    finally:
        logger.removeHandler(handler)


def tell() -> None:
    """Give what was held, and from here on each warning as it comes."""
    for handler in logging.getLogger(_LOGGER).handlers:
        if isinstance(handler, _Held):
            handler.open()
