"""Is the work in a folder alive, how far is it, and where is it done?

Whoever works in a folder keeps one small file in it: when it began, the share that is done, process, host, device,
memory. It is written again at most once a second, and every ten seconds if there is nothing to tell, so that another
machine can see that the work goes on. The name begins with a dot: such files are never part of a result.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = ".progress.json"
RARELY = 1.0  # seconds between two writings, at least
BEAT = 10.0  # and at most
SILENT = 45.0  # seconds without a word after which work on another machine counts as dead


@dataclass(frozen=True)
class Pulse:
    """What was last heard from the work in a folder.

    Attributes:
        began: seconds since 1970.
        heard: likewise, when this was written.
        share: of the work that is done, 0..1.
        pid: the process.
        host: the machine's name.
        processes: which numbering of processes the pid belongs to; containers have their own.
        device: as `cpu`, `cuda:1`.
        memory_mib: peak memory of the process so far.
    """

    began: float
    heard: float
    share: float
    pid: int
    host: str
    processes: str
    device: str
    memory_mib: int

    def alive(self, now: float | None = None) -> bool:
        """Tell whether the work still goes on: by its process where that can be seen, else by when it was heard."""
        if (self.host, self.processes) == (socket.gethostname(), _processes()):
            return _runs(self.pid)
        return (time.time() if now is None else now) - self.heard < SILENT


@contextmanager
def pulse(folder: Path, device: str, pass_on: Callable[[float], None]) -> Iterator[Callable[[float], None]]:
    """Show that work goes on in a folder, until the block ends.

    Args:
        folder: where the work is done; it exists.
        device: what is shown as its device.
        pass_on: is told every share too.

    Yields:
        A function that takes the share that is done, 0..1; cheap, to be called as often as you like.
    """
    heart = _Heart(folder / FILE, device)
    beating = threading.Thread(target=heart.beat, name="pulse", daemon=True)
    beating.start()

    def tell(share: float) -> None:
        heart.moved(share)
        pass_on(share)

    try:
        yield tell
    finally:
        heart.stopped.set()
        beating.join()
        with suppress(OSError):
            (folder / FILE).unlink(missing_ok=True)


def heard(folder: Path) -> Pulse | None:
    """Read what the work in a folder last said; None if it said nothing that can be read."""
    try:
        return Pulse(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


class _Heart:
    def __init__(self, file: Path, device: str) -> None:
        self._file, self._device = file, device
        self._began, self._share, self._written = time.time(), 0.0, -RARELY
        self._one = threading.Lock()
        self.stopped = threading.Event()
        self._write()

    def moved(self, share: float) -> None:
        self._share = share
        if time.monotonic() - self._written >= RARELY:
            self._write()

    def beat(self) -> None:
        while not self.stopped.wait(BEAT):
            self._write()

    def _write(self) -> None:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        where = (os.getpid(), socket.gethostname(), _processes(), self._device)
        now = Pulse(self._began, time.time(), self._share, *where, memory)
        aside = self._file.with_name(f"{FILE}.{os.getpid()}.tmp")
        # a full disk must not stop the work for want of a picture of it
        with self._one, suppress(OSError):
            self._written = time.monotonic()
            aside.write_text(json.dumps(asdict(now)), encoding="utf-8")
            aside.replace(self._file)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, and belongs to somebody else
        return True
    return True


def _processes() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
