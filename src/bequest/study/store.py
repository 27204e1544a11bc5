"""Where do the results of steps live, and how is it known that they are whole?

One folder per step under `steps/`, named by its key. A step writes into `partial/KEY`; when it is done the files are
hashed into `manifest.json`, forced to disk, and the folder is moved to its place in one rename. So a folder in `steps/`
is whole, or damaged by something else, which the hashes show. A failed step leaves its traceback in `failed/KEY`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from bequest.study.claim import Claim, read, take
from bequest.study.step import Step, key_of

MEGABYTE = 2**20


class StoreError(RuntimeError):
    """The store cannot be used: read-only, full, or in use by another run."""


@dataclass(frozen=True)
class Artefact:
    """The result of a step.

    Attributes:
        folder: where its files are; never written to again.
    """

    folder: Path

    def rows(self) -> pl.DataFrame:
        """Read the table of the step."""
        return pl.read_parquet(self.folder / "rows.parquet")

    def json(self, name: str) -> Any:
        """Read a JSON file of the step, as in `json("provenance")`."""
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    def intact(self, *, quickly: bool = False, read: Collection[str] = ()) -> str | None:
        """Compare the files with their sizes and hashes.

        Args:
            quickly: leave out the hashes of files above a megabyte; their sizes are still compared.
            read: files whose hashes are compared whatever their size, because they are about to be read.

        Returns:
            None if all is well; otherwise what is wrong, naming the file.
        """
        try:
            manifest: dict[str, dict[str, Any]] = self.json("manifest")
            expected = {name: (str(entry["sha256"]), int(entry["bytes"])) for name, entry in manifest.items()}
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
            return f"{self.folder / 'manifest.json'} cannot be read: {error}"
        for name, (digest, size) in expected.items():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                return f"{self.folder / 'manifest.json'} names a file outside its folder: {name!r}"
            file = self.folder / name
            if not os.path.isfile(file):  # noqa: PTH113 - pathlib's raises for a name that is too long
                return f"{file} is missing"
            changed = file.stat().st_size != size
            unread = quickly and size > MEGABYTE and name not in read
            if changed or (not unread and file_hash(file) != digest):
                return f"{file} has changed since it was written"
        for name in _files_in(self.folder):
            if name not in expected and name != "manifest.json":
                return f"{self.folder / name} was not written by this step"
        return None


def _files_in(folder: Path) -> Iterator[str]:
    """Names of the files below a folder, without the hidden ones, which are never part of a result."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = place[len(str(folder)) :].replace(os.sep, "/").lstrip("/")
        yield from (f"{inner}/{name}".lstrip("/") for name in names if not name.startswith("."))


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


class Store:
    """The results of steps in a folder.

    Args:
        root: the folder; made if it isn't there.
        look: only look at it: nothing is made, so that the disk may be read-only.

    Raises:
        StoreError: if the folder cannot be made or written to.
    """

    def __init__(self, root: Path, *, look: bool = False) -> None:
        self.root = root
        with told(root):
            for name in () if look else ("steps", "partial", "failed", "claims"):
                (root / name).mkdir(parents=True, exist_ok=True)

    def has(self, step: Step) -> bool:
        """Tell whether the result of a step is there."""
        return (self.root / "steps" / step.key / "manifest.json").is_file()

    def open(self, step: Step) -> Artefact:
        """Give the result of a step that is there."""
        return Artefact(self.root / "steps" / step.key)

    def damage(self, step: Step, *, quickly: bool = False, read: Collection[str] = ()) -> str | None:
        """Tell what is wrong with a result.

        Args:
            step: any step.
            quickly: see `Artefact.intact`.
            read: likewise.

        Returns:
            None if all is well or nothing is there; otherwise what is wrong, naming the file.
        """
        artefact = self.open(step)
        if not artefact.folder.is_dir():
            return None
        if found := artefact.intact(quickly=quickly, read=read):
            return found
        try:
            described = key_of(dict(artefact.json("spec")))
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            return f"{artefact.folder / 'spec.json'} cannot be read: {error}"
        if described != step.key:
            return f"{artefact.folder / 'spec.json'} is that of another step, or of another version of it"
        return None

    def checked(self, step: Step, *read: str) -> Artefact:
        """Give the result of a step that is there and whose small files are what was written.

        Args:
            step: a step whose result is there.
            read: names of files that are compared with their hashes even if they are large.

        Returns:
            The result.

        Raises:
            StoreError: names the damaged file and how to have it made again.
        """
        if damage := self.damage(step, quickly=True, read=read):
            again = shlex.join(["bequest", "run", str(self.root / "study.yaml"), "--folder", str(self.root)])
            raise StoreError(f"{damage}; `{again}` makes it again")
        return self.open(step)

    def scratch(self, step: Step) -> Path:
        """Give the folder that a step writes into; what an interrupted try left there is kept."""
        folder = self.root / "partial" / step.key
        with told(self.root):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def publish(self, step: Step, provenance: Mapping[str, Any]) -> Artefact:
        """Move what a step wrote to its place, whole.

        Args:
            step: the step, whose scratch folder holds its files.
            provenance: where, when, with what and for how long it ran.

        Returns:
            The result.
        """
        scratch, place = self.scratch(step), self.root / "steps" / step.key
        with told(self.root):
            for path in list(scratch.rglob("*")):
                if path.name.startswith(".") or path.suffix == ".tmp":  # of atomic writers that were killed
                    path.unlink(missing_ok=True)
            _write_json(scratch / "spec.json", {**step.identity, "label": step.label})
            _write_json(scratch / "provenance.json", provenance)
            inside = [path for path in scratch.rglob("*") if path.name != "manifest.json"]
            files = sorted(path for path in inside if path.is_file())
            manifest = {
                path.relative_to(scratch).as_posix(): {"sha256": file_hash(path), "bytes": path.stat().st_size}
                for path in files
            }
            _write_json(scratch / "manifest.json", manifest)
            folders = [path for path in inside if path.is_dir()]
            _force([*files, scratch / "manifest.json", *folders, scratch])
            _remove(place)
            scratch.rename(place)
            _force([place.parent])
            self.clear_failure(step)
        return Artefact(place)

    def discard(self, step: Step) -> None:
        """Remove a damaged or outdated result, so that the step runs again from its beginning."""
        with told(self.root):
            _remove(self.root / "steps" / step.key)
            _remove(self.root / "partial" / step.key)

    def fail(self, step: Step, failure: Mapping[str, Any]) -> None:
        """Leave a failure in the step's place: `failed/KEY/failure.json` with message and traceback."""
        folder = self.root / "failed" / step.key
        with told(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            content = {**failure, "label": step.label, "step": step.identity}
            write_whole(folder / "failure.json", json.dumps(content, indent=1))

    def failure(self, step: Step) -> dict[str, Any] | None:
        """Give what `fail` wrote; None if the step did not fail."""
        path = self.root / "failed" / step.key / "failure.json"
        if not path.is_file():
            return None
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
            return found | {"message": str(found["message"]), "traceback": str(found["traceback"])}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            return {"message": f"it failed, but {path} cannot be read: {error}", "traceback": "", "kind": ""}

    def clear_failure(self, step: Step) -> None:
        """Forget an earlier failure of a step."""
        shutil.rmtree(self.root / "failed" / step.key, ignore_errors=True)

    @contextmanager
    def claim(self, step: Step, busy: Callable[[str], None]) -> Iterator[Claim]:
        """Have a step for oneself: no other process works on it at the same time.

        Args:
            step: the step.
            busy: called with its name whenever another process works on it; returns to try again, or raises.

        Yields:
            The claim; its `share`, 0..1, can be seen by other processes.
        """
        with told(self.root):
            claim = take(self.root / "claims" / step.key, busy)
        try:
            yield claim
        finally:
            claim.release()

    def claims(self) -> dict[str, dict[str, Any]]:
        """Give what the processes that work on steps say, by key: host, process, began, share."""
        return {path.name: read(path) for path in (self.root / "claims").iterdir()}

    @contextmanager
    def only_driver(self) -> Iterator[None]:
        """Hold the store for one run, however that ends.

        Yields:
            Nothing.

        Raises:
            StoreError: if another run holds it.
        """

        def refuse(holder: str) -> None:
            raise StoreError(
                f"{self.root}: another run is working in this folder ({holder}); wait for it, or give --folder "
                "another one"
            )

        with told(self.root):
            claim = take(self.root / "lock", refuse)
        try:
            yield
        finally:
            claim.release()


FULL = {
    errno.ENOSPC: "the disk is full; what is done is kept, make room and run again",
    errno.EDQUOT: "the disk quota is used up; what is done is kept, make room and run again",
    errno.EFBIG: "a file would be larger than is allowed here; what is done is kept, allow it and run again",
    errno.EROFS: "the disk is read-only; give --folder a place that can be written to",
}
FORBIDDEN = FULL | {
    errno.EACCES: "no permission to write; give --folder a place that can be written to",
    errno.EPERM: "no permission to write; give --folder a place that can be written to",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EEXIST: "this is a file, not a folder",
}


@contextmanager
def told(root: Path, reasons: Mapping[int, str] = FORBIDDEN) -> Iterator[None]:
    """Turn the errors of a full or read-only disk into one message.

    Args:
        root: the folder that the message names.
        reasons: error numbers and what to say of each; any other error passes.

    Yields:
        Nothing.

    Raises:
        StoreError: for a disk that is full, over quota, read-only, or not permitted.
        Exception: any other error, as it was.
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number is None:  # writers in other languages say it in words
            number = next((n for n in FULL if os.strerror(n) in str(error)), None)
        if number is None or number not in reasons or isinstance(error, StoreError):
            raise
        raise StoreError(f"{root}: {reasons[number]}") from error


def write_whole(path: Path, text: str) -> None:
    """Write a text file in one move: the old content or the new, never a part."""
    with told(path.parent):
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)


def _remove(place: Path) -> None:
    """Remove a folder, or what stands in its place; what cannot be removed is an error, for it would pass for sound."""
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=False), encoding="utf-8")


def _force(paths: Sequence[Path]) -> None:
    """Have files and folders on the disk; all at once, so that the file system can write its journal once for them."""
    for _ in map(_force_one, paths) if len(paths) == 1 else _threads().map(_force_one, paths):
        pass


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(8, thread_name_prefix="fsync")


def _force_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
