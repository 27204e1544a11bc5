"""Does any input make a reader end in an error that is not ours?

    python benchmarks/fuzz.py --minutes 10               every reader in turn, so long in all
    python benchmarks/fuzz.py --minutes 1 --only tar     those whose names begin so
    python benchmarks/fuzz.py --minutes 10 --seed 7      other inputs

A reader gets a sound file with a few bytes changed, or one made of what its format is made of, and may do two things
with it: read it, or refuse it with a ValueError, FileNotFoundError or KeyError that names the file. Everything else is
a find: another kind of error, a message without the file, ten seconds, damage that was not found. Finds are printed
with the place where they happened, and their inputs are kept in --keep.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fuzz_readers import HOSTILE, Reader, readers
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

OURS = (ValueError, FileNotFoundError, KeyError)
PATIENCE = 10  # seconds an input may take
MEMORY = 6 * 2**30  # bytes of address space; who wants more gets a MemoryError


class TooLong(BaseException):
    """An input took more than its time; no reader may catch this one."""


@dataclass
class Tally:
    """What became of the inputs of a reader: how many were read, and refused, and the finds by where they happened."""

    read: int = 0
    refused: int = 0
    finds: dict[str, bytes] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)


@st.composite
def changed(draw: st.DrawFn, sound: bytes) -> bytes:
    """A sound content with one to four changes."""
    content = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 1 << draw(st.integers(0, 8))))
        part = bytes(content[place : place + length])
        match draw(st.sampled_from(("flip", "put", "word", "cut", "twice", "drop", "zeros"))):
            case "flip" if content:
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "put":
                content[place : place + length] = draw(st.binary(max_size=length))
            case "word":
                content[place:place] = draw(st.sampled_from(HOSTILE)).encode("utf-8", "surrogatepass")
            case "cut":
                del content[place:]
            case "twice":
                content[place:place] = part
            case "drop":
                del content[place : place + length]
            case "zeros":
                content[place : place + length] = draw(st.sampled_from((b"\0", b"\xff"))) * len(part)
    return bytes(content)


def attempt(reader: Reader, content: bytes, folder: Path, tally: Tally) -> None:
    """Let a reader have an input, and note what came of it."""
    for name, sound in {**reader.files, reader.victim: content}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(sound)
    try:
        signal.alarm(PATIENCE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder / reader.victim)
        tally.read += 1
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        if isinstance(error, OURS) and (folder.name in str(error) or Path(reader.victim).name in str(error)):
            tally.refused += 1
            return
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/bequest/" in frame.filename]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        why = "does not name the file: " if isinstance(error, OURS) else ""
        key = f"{why}{type(error).__name__} at {where}: {' '.join(str(error).split())[:150]}"
        place = f"{why}{type(error).__name__} at {where}"
        tally.times[place] += 1
        if tally.times[place] == 1:
            tally.finds[key] = content
    finally:
        signal.alarm(0)


def fuzz(reader: Reader, tally: Tally, *, examples: int, number: int) -> None:
    """Let a reader have so many inputs; the same number gives the same ones."""
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    count = iter(range(10**9))
    inputs = changed(reader.files[reader.victim]) | reader.made

    @seed(number)
    @settings(
        max_examples=examples, database=None, deadline=None, phases=[Phase.generate], derandomize=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(inputs)
    def one(content: bytes) -> None:
        folder = root / f"example-{next(count)}"  # a new one each: readers remember files by their path
        attempt(reader, content, folder, tally)
        shutil.rmtree(folder, ignore_errors=True)

    signal.signal(signal.SIGALRM, _stop)
    try:
        one()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _stop(number: int, frame: object) -> None:
    raise TooLong(f"more than {PATIENCE} seconds")


def main() -> int:
    """Fuzz from the command line; the exit code is 1 if there is a find."""
    words = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else "")
    words.add_argument("--minutes", type=float, default=10.0)
    words.add_argument("--only", default="", help="readers whose names begin so")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--keep", type=Path, default=Path("finds"), help="where inputs of finds are kept")
    asked = words.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    chosen = {name: reader for name, reader in readers().items() if name.startswith(asked.only)}
    if not chosen:
        print(f"no reader begins with {asked.only!r}; there are {', '.join(readers())}", file=sys.stderr)
        return 2
    tallies = {name: Tally() for name in chosen}
    spent = dict.fromkeys(chosen, 0.0)
    ends, number = time.monotonic() + 60 * asked.minutes, asked.seed
    while time.monotonic() < ends:
        name = min(spent, key=spent.__getitem__)  # all readers get the same time
        began = time.monotonic()
        fuzz(chosen[name], tallies[name], examples=200, number=number)
        spent[name] += time.monotonic() - began
        number += 1
    print(f"{'reader':<24}{'inputs':>9}{'read':>9}{'refused':>9}{'finds':>7}")
    for name, tally in tallies.items():
        inputs = tally.read + tally.refused + sum(tally.times.values())
        print(f"{name:<24}{inputs:>9,}{tally.read:>9,}{tally.refused:>9,}{len(tally.times):>7}")
    every = [tally.read + tally.refused + sum(tally.times.values()) for tally in tallies.values()]
    print(f"{'all':<24}{sum(every):>9,}")
    for name, tally in tallies.items():
        for key, content in tally.finds.items():
            asked.keep.mkdir(parents=True, exist_ok=True)
            file = asked.keep / f"{name.replace(' ', '-')}-{hashlib.sha256(content).hexdigest()[:8]}"
            file.write_bytes(content)
            print(f"find: {name}: {key} ({file})")
    return int(any(tally.finds for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
