"""How is one step of training carried out by several processes of this machine, one for each device?

They are started here, told what to do, and ended here, however it goes: when they are done, when the first fails, or
with this process (each watches its standard input, which closes then). The cause of a fault is told: the signal of a
process that was killed, else the first error that is more than a peer's silence.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from bequest.study.step import Context
from bequest.study.store import Artefact, StoreError
from bequest.training.group import Unanswered
from bequest.training.loop import Diverged

PATIENCE = 1800.0  # seconds until a process that does not answer is given up, as long as torch's own for gloo
GRACE = 2.0  # seconds after the first fault in which others are heard, to tell cause from consequence
SHOWN = 30  # last lines of what a process printed that a fault shows
KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (Diverged, ValueError, KeyError, FileNotFoundError, StoreError, Unanswered)
}


class _Remote(Exception):
    """The traceback of another process, as the cause of an error."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass
class _Process:
    """One of the processes, and what is known of it."""

    name: str
    running: subprocess.Popen[str]
    printed: IO[bytes]
    failed: dict[str, Any] = field(default_factory=dict)
    code: int | None = None

    @property
    def killed(self) -> str:
        """The signal that ended it, unless it raised that itself; empty otherwise."""
        number = -(self.code or 0)
        return signal.Signals(number).name if number > 0 and number != signal.SIGABRT and not self.failed else ""

    def close(self) -> None:
        for file in (self.running.stdin, self.printed):
            if file is not None:
                file.close()

    def tail(self) -> str:
        self.printed.seek(0)
        return "\n".join(self.printed.read().decode(errors="replace").splitlines()[-SHOWN:])


def check_devices(device: str, devices: int) -> None:
    """Refuse devices that this machine does not have.

    Args:
        device: `cpu`, `cuda`, or one by name.
        devices: how many train together.

    Raises:
        ValueError: says what to change.
    """
    if devices == 1 or device == "cpu":
        return
    what = f"resources.training.devices is {devices}"
    if device != "cuda":
        raise ValueError(f"{what}, and --device {device} is one of them; use cuda (all of this machine), cpu or auto")
    if torch.cuda.device_count() < devices:
        raise ValueError(
            f"{what}, but this machine has {torch.cuda.device_count()} GPUs; lower it, or take --device cpu"
        )


def together(
    folder: Path,
    arguments: Mapping[str, Any],
    inputs: Mapping[str, Artefact],
    context: Context,
    *,
    patience: float = PATIENCE,
) -> None:
    """Train one run on `context.devices` devices of this machine.

    Args:
        folder: see `training.train_here`.
        arguments: likewise.
        inputs: likewise.
        context: device: `cpu` or `cuda`; how many; progress. The processes share this one's threads.
        patience: seconds until a process that does not answer is given up.

    Raises:
        Exception: what the first process to fail raised; RuntimeError if it was killed, or its error is of no kind that
            is expected.
    """
    check_devices(context.device, context.devices)
    job: dict[str, Any] = {"folder": str(folder.absolute()), "arguments": dict(arguments), "patience": patience}
    job |= {"inputs": {name: str(given.folder.absolute()) for name, given in inputs.items()}}
    job |= {"processes": context.devices, "threads": max(1, torch.get_num_threads() // context.devices)}
    job |= {"workers": context.workers, "events": context.events and str(context.events.absolute())}
    processes: list[_Process] = []
    with tempfile.TemporaryDirectory(prefix="bequest-") as place:
        try:
            for rank in range(context.devices):
                device = "cpu" if context.device == "cpu" else f"cuda:{rank}"
                own = {"rank": rank, "device": device, "meeting": f"{place}/meeting"}
                processes.append(_start(job | own, f"process {rank + 1} of {context.devices} on {device}"))
            _listen(processes, context)
        finally:
            for process in processes:
                process.running.kill()
            for process in processes:
                process.running.wait()
                process.close()


def _start(job: Mapping[str, Any], name: str) -> _Process:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": str(job["threads"])}
    # they talk on this machine alone: nobody outside of it can reach them, and its name need not be known
    environment.setdefault("GLOO_SOCKET_IFNAME", next(n for _, n in socket.if_nameindex() if n.startswith("lo")))
    printed = tempfile.TemporaryFile()
    running = subprocess.Popen(
        [sys.executable, "-P", "-m", "bequest.study.one_process"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=printed,
        text=True,
        start_new_session=True,  # Ctrl-C is for this process, which ends the others
    )
    assert running.stdin is not None
    process = _Process(name, running, printed)
    try:
        running.stdin.write(json.dumps(job) + "\n")
        running.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended, which is told by its code
    return process


def _listen(processes: Sequence[_Process], context: Context) -> None:
    """Pass progress on until all have ended; raise what went wrong."""
    said: queue.Queue[tuple[_Process, dict[str, Any]]] = queue.Queue()
    for process in processes:
        threading.Thread(target=_hear, args=(process, said), daemon=True).start()
    until: float | None = None
    while any(process.code is None for process in processes):
        try:
            process, message = said.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if "share" in message:
            context.tell(message["share"])
        process.failed = message.get("failed", process.failed)
        process.code = message.get("code", process.code)
        if until is None and (process.failed or process.code):
            until = time.monotonic() + GRACE
    if until is not None:
        raise _fault(processes)


def _hear(process: _Process, said: queue.Queue[tuple[_Process, dict[str, Any]]]) -> None:
    assert process.running.stdout is not None
    with process.running.stdout as lines:
        for line in lines:
            said.put((process, json.loads(line)))
    said.put((process, {"code": process.running.wait()}))


def _fault(processes: Sequence[_Process]) -> Exception:
    """Tell cause from consequence."""
    if lost := next((process for process in processes if process.killed), None):
        hint = ", as where memory runs out" if lost.killed == "SIGKILL" else ""
        return _with_cause(RuntimeError(f"{lost.name} was ended by {lost.killed}{hint}; the others were stopped"), lost)
    failed = [process for process in processes if process.failed]
    failed.sort(key=lambda process: (process.failed["kind"] == Unanswered.__name__, process.failed["at"]))
    if not failed:
        ended = next(process for process in processes if process.code)
        return _with_cause(
            RuntimeError(f"{ended.name} ended with exit code {ended.code}; the others were stopped"), ended
        )
    said = failed[0].failed
    if said["errno"] is not None:
        return _with_cause(OSError(said["errno"], said["message"]), failed[0])
    if kind := KINDS.get(said["kind"]):
        return _with_cause(kind(said["message"]), failed[0])
    return _with_cause(RuntimeError(f"{failed[0].name}: {said['kind']}: {said['message']}"), failed[0])


def _with_cause(error: Exception, process: _Process) -> Exception:
    error.__cause__ = _Remote(process.failed.get("traceback") or process.tail())
    return error
