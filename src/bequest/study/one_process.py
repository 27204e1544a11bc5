"""What does one of several processes that train together do? It is started by `functions.together`.

The first line of standard input says what to do; when that closes, whoever started this has gone, and it ends. Standard
output has lines of JSON alone: `share` that is done, of the first process, and `failed`. What others print goes to
standard error.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def main() -> None:
    """Do what standard input says, and end this process."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: Mapping[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    code = 0
    try:
        _work(job, say)
    except BaseException as error:
        code = 1
        said = {"kind": type(error).__name__, "message": _message(error), "errno": getattr(error, "errno", None)}
        say({"failed": said | {"traceback": traceback.format_exc(), "at": time.time()}})
    sys.stderr.flush()
    os._exit(code)  # a peer that has gone must not keep this one from ending


def _work(job: Mapping[str, Any], say: Callable[[Mapping[str, Any]], None]) -> None:
    import torch

    from bequest.study.functions.training import train_here
    from bequest.study.step import Context
    from bequest.study.store import Artefact
    from bequest.training.group import group_of

    torch.set_num_threads(job["threads"])
    device, rank = torch.device(job["device"]), job["rank"]
    told: Callable[[float], None] = (lambda share: say({"share": share})) if rank == 0 else (lambda share: None)
    context = Context(job["device"], job["workers"], told, job["events"] and Path(job["events"]))
    inputs = {name: Artefact(Path(folder)) for name, folder in job["inputs"].items()}
    meeting = Path(job["meeting"])
    with group_of(rank, job["processes"], device=device, meeting=meeting, patience=job["patience"]) as group:
        train_here(Path(job["folder"]), job["arguments"], inputs, context, group)


def _end_with_the_other() -> None:
    """Wait until nobody can write to standard input any more."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _message(error: BaseException) -> str:
    """What an error says; an OSError without the number, which goes beside it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename!r}" if error.filename else error.strerror
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


if __name__ == "__main__":
    main()
