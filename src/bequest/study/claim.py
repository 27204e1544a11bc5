"""Who works here now, and is it still alive?

A claim is a file that its holder keeps locked (flock) and writes a sign of life into. The kernel drops the lock with
the process, however it ends, so on one machine a claim is free at once. Between machines the lock alone is not trusted:
some shared file systems keep locks to each machine. There a claim counts as left when its sign of life has not changed
for `SILENCE` seconds, by the watch of the one who waits, so that clocks need not agree.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

BEAT = 5.0  # seconds between signs of life
SILENCE = 60.0  # seconds without one, after which another machine's claim counts as left
SETTLING = 2.0  # seconds after which two who took such a claim at once have seen each other
LENGTH = 512  # bytes of a claim, always: it is overwritten in place
LOST_CLAIM = 75  # exit code of a process that stood still so long that its work was given to another
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Claim:
    """A claim that is held.

    Attributes:
        share: how far its holder says to be, 0..1; it goes out with the next sign of life.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.share = 0.0
        self._path, self._handle, self._token = path, handle, uuid.uuid4().hex
        self._began, self._beats = time.time(), 0
        self._over = threading.Event()
        self._live()
        self._thread = threading.Thread(target=self._beat, name="claim", daemon=True)

    def keep(self) -> None:
        """Give signs of life until the release."""
        self._thread.start()

    def own(self) -> bool:
        """Tell whether nobody else took it; a claim whose file is gone is nobody else's."""
        found = read(self._path)
        return not found or found.get("token") == self._token

    def release(self) -> None:
        """Let it go: the file disappears."""
        self._over.set()
        with contextlib.suppress(OSError):
            if self.own():
                self._path.unlink(missing_ok=True)
        os.close(self._handle)

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            if not self.own():
                print(f"{self._path}: taken over by another machine; this process ends", file=sys.stderr, flush=True)
                os._exit(LOST_CLAIM)  # anything it went on to write would be in the other's way
            with contextlib.suppress(OSError):
                self._live()

    def _live(self) -> None:
        self._beats += 1
        content = {"machine": machine(), "host": socket.gethostname()[:64], "process": os.getpid()}
        content |= {"token": self._token, "began": self._began, "beats": self._beats, "share": self.share}
        os.pwrite(self._handle, json.dumps(content).encode().ljust(LENGTH), 0)
        if self._beats > 1:  # so that other machines see it; the first is seen when the file is opened
            os.fsync(self._handle)


def take(path: Path, busy: Callable[[str], None]) -> Claim:
    """Take a claim, or wait for it.

    Args:
        path: the file; its folder exists.
        busy: called whenever somebody else has the claim, with who it is in words; returns to try again, or raises.

    Returns:
        The claim, held until its `release` or the end of this process.
    """
    while True:
        claim = _try(path)
        if claim:
            claim.keep()
            return claim
        if path.exists():  # otherwise it was released this moment
            busy(_holder(read(path)))


def read(path: Path) -> dict[str, Any]:
    """Give what the holder of a claim wrote: host, process, began, share; empty if there is none."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


@cache
def machine() -> str:
    """Give a name that two machines never share: that of this start of the system."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def _try(path: Path) -> Claim | None:
    try:
        handle, new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        try:
            handle, new = os.open(path, os.O_RDWR), False
        except FileNotFoundError:
            return None
    claim = None
    try:
        locked = _lock(handle)
        if locked is not False and _still(path, handle):
            former = {} if new else read(path)
            certain = new or (locked is True and former.get("machine") == machine())  # the kernel dropped its lock
            if certain or _silent(path, former):
                claim = Claim(path, handle)
                if not certain and not _settled(claim):
                    claim = None
    except OSError:
        if new:  # the disk is full, say
            path.unlink(missing_ok=True)
        raise
    finally:
        if claim is None:
            os.close(handle)
    return claim


def _silent(path: Path, former: dict[str, Any]) -> bool:
    """Watch a claim for a sign of life; one without content is being written this moment, or was when it crashed."""
    until = time.monotonic() + (SILENCE if former else SETTLING)
    while time.monotonic() < until:
        time.sleep(min(BEAT, SETTLING) / 4)
        if read(path) != former:
            return False
    return True


def _settled(claim: Claim) -> bool:
    """Tell, a moment later, whether nobody else took the same claim at once."""
    time.sleep(SETTLING)
    return claim.own()


def _holder(found: dict[str, Any]) -> str:
    return f"process {found['process']} on {found['host']}" if found else "another process"


def _lock(handle: int) -> bool | None:
    """Lock a file: True, False if another has it, None where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise


def _still(path: Path, handle: int) -> bool:
    """Tell whether the path still leads to the open file: its holder may have removed it meanwhile."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
