"""How is a study file read, and what is said when it is wrong?

Each complaint is one message with the file and line, or the change from the command line, then the key and the way
out.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from bequest.analyses.plugins import announced
from bequest.data.doors import with_absolute_place
from bequest.data.inside import impossible
from bequest.models.packages import package_path
from bequest.study.options import Analyses, Measured, usual
from bequest.study.plugged import model_of
from bequest.study.prepared import PREPARED, prepared
from bequest.study.resources import Resources
from bequest.study.spec import Study
from bequest.study.strict_yaml import NotPlain, parse

LARGEST = 100_000  # bytes; a study file is a page of text
Location = tuple[str | int, ...]


class BadStudy(ValueError):
    """A study file that cannot be used; the message says where and what to do."""


def read_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study file.

    Args:
        path: a YAML file.
        overrides: changes as `key.path=value`; the value is YAML.

    Returns:
        The study, checked. What it does not say of how images are prepared is as the published weights of its model
        want it, where that is known. Places (`folder:DIR`, `source.weights`) are absolute; a relative one is seen from
        the folder of the study file, also in a change.

    Raises:
        BadStudy: if the file is missing, is not YAML, or says something that is not known or out of range.
    """
    node, content = _parse(path)
    changes = [_override(content, override) for override in overrides]
    if not content.keys() >= {*PREPARED}:  # what says everything, as a stored study does, need not wait for a library
        content = prepared(content.get("model")) | content
    study = check(content, lambda location: _where(path, node, changes, location))
    return _with_absolute_places(study, path.parent)


def check(content: dict[str, Any], where: Callable[[Location], str] = lambda location: "study") -> Study:
    """Turn the content of a study file into a checked study.

    Args:
        content: what the YAML says.
        where: gives the text that begins a complaint about a key path.

    Returns:
        The study.

    Raises:
        BadStudy: names the first wrong key and, for an unknown one, the nearest known.
    """
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # a misspelt key before the one that is missing because of it
        first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
        location = tuple(part for part in first["loc"] if part != "[key]") or _named(first)
        more = error.error_count() - 1
        further = f" ({more} further complaint{'s' * (more > 1)})" if more else ""
        text = f"{where(location)}: {_complaint(first, location)}{further}"
        raise BadStudy(" ".join(text.split())) from None  # a quoted key may hold line breaks


def with_changes(content: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Put changes, as `key.path=value`, into the content of a study; it is changed in place and returned."""
    for change in changes:
        _override(content, change)
    return content


def dump(study: Study) -> str:
    """Write a study as YAML, with every default spelled out; `read_study` gives the same study back."""
    content = study.model_dump(mode="json", exclude_none=True)
    for name in ("trust_pickle", "left_out", "decisions"):
        if not content[name]:
            del content[name]
    if study.resources == Resources():
        del content["resources"]
    if study.given:  # no arm is trained
        del content["arms"]
        if study.source is not None:
            content["source"] = {"weights": str(study.source.weights)}
    elif any(study.arms.learning_rates.values()):
        del content["arms"]["recipe"]["learning_rate"]  # the sweep gives it, and a study that names both is refused
    if not study.tensorboard:
        del content["tensorboard"]
    for name, options in study.analyses.named().items():  # null where it says something else than nothing
        fields = type(options).model_fields.items()
        said = [key for key, field in fields if field.default is not None and getattr(options, key) is None]
        content["analyses"][name] |= dict.fromkeys(said)
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # they are refused when the file is read


def _parse(path: Path) -> tuple[yaml.Node | None, dict[str, Any]]:
    if path.is_dir():
        raise BadStudy(f"{path}: a folder, not a study file; give the file, as in {path / 'study.yaml'}")
    if not path.is_file():
        raise BadStudy(f"{path}: no such study file; `bequest demo` runs one that comes with Bequest")
    if path.stat().st_size > LARGEST:
        raise BadStudy(f"{path}: {path.stat().st_size:,} bytes are too many for a study file (at most {LARGEST:,})")
    encoded = path.read_bytes()
    try:
        node, content = parse(encoded.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = encoded.count(b"\n", 0, error.start) + 1
        raise BadStudy(f"{path}:{line}: not text in UTF-8 (byte {encoded[error.start]:#x}); save it as UTF-8") from None
    except NotPlain as error:
        raise BadStudy(f"{path}:{error.line}: {error}") from None
    if not isinstance(content, dict):
        found = "empty" if content is None else "a list" if isinstance(content, list) else "a single value"
        raise BadStudy(f"{path}: the file is {found}; a study file has lines of `key: value`, starting with `name:`")
    return node, content


def _with_absolute_places(study: Study, folder: Path) -> Study:
    source = study.source
    if source is not None:
        data = tuple(with_absolute_place(door, folder) for door in source.data)
        weights = None if source.weights is None else _place(folder, source.weights)
        source = source.model_copy(update={"data": data, "weights": weights})
    targets = {}
    for name, target in study.targets.items():
        doors = {"data": target.data} | ({"calibration": target.calibration} if target.calibration else {})
        targets[name] = target.model_copy(
            update={key: with_absolute_place(door, folder) for key, door in doors.items()}
        )
    given = {name: _place(folder, path) for name, path in study.given.items()}
    decisions = study.decisions
    if decisions.source is not None:
        candidates = {name: _place(folder, path) for name, path in decisions.source.candidates.items()}
        decisions = decisions.model_copy(
            update={"source": decisions.source.model_copy(update={"candidates": candidates})}
        )
    update = {"source": source, "targets": targets, "given": given, "decisions": decisions}
    return study.model_copy(update=update)


def _place(folder: Path, path: Path) -> Path:
    """A path as seen from the folder of the study file, or inside an installed package."""
    if impossible(str(path)):
        raise BadStudy(f"no file of weights can be called {str(path)[:80]!r}, {len(str(path)):,} characters")
    try:
        return (folder / package_path(str(path))).resolve()
    except (FileNotFoundError, ValueError) as error:
        raise BadStudy(str(error)) from None


def _named(error: Any) -> Location:
    """The key that a complaint about the whole study begins with."""
    word = error["msg"].removeprefix("Value error, ").partition(" ")[0]
    return tuple(word.split(".")) if word.split(".")[0] in Study.model_fields else ()


def _complaint(error: Any, location: Location) -> str:
    dotted = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        known, where = _fields_at(location[:-1]), location[:-1]
        further = "; those of other packages must be installed here" if where == ("analyses",) else ""
        return f"unknown key `{dotted}`; {nearest(str(location[-1]), known)}{further}"
    if error["type"] == "missing":
        return f"`{dotted}` is missing"
    shown = repr(error.get("input"))
    message: str = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message  # it names the key itself
    return f"`{dotted}` is {shown[:80]}: {message[0].lower()}{message[1:]}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, and all of them if there are few."""
    listed = sorted(known)
    close = difflib.get_close_matches(word, listed, n=1, cutoff=0.5)
    hint = f"did you mean `{close[0]}`? " if close else ""
    return f"{hint}Known: {', '.join(listed[:20])}"


def _fields_at(location: Sequence[str | int]) -> list[str]:
    kind: Any = Study
    for part in location:
        field = kind.model_fields.get(str(part)) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        if field is None and kind is Analyses and part in announced():
            kind = model_of(str(part), Measured)
            continue
        annotation = field.annotation if field else kind
        kind = next((k for k in _models_in(annotation)), kind)
    return [*kind.model_fields, *(announced() if kind is Analyses else ())]


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _override(content: dict[str, Any], override: str) -> tuple[Location, str]:
    """Put a change into the content; give its key path and how it is shown."""
    key, equals, value = override.partition("=")
    parts = key.split(".")
    if key.encode(errors="replace").decode() != key:
        raise BadStudy(f"the change {override[:80]!r} has bytes that are no text in UTF-8")
    if not equals or not all(parts):
        raise BadStudy(f"`{override}`: a change is written key.path=value, as in barrier.points=11")
    # barrier.points is short for analyses.barrier.points
    if parts[0] not in Study.model_fields and parts[0] in _fields_at(["analyses"]):
        parts = ["analyses", *parts]
    if parts[0] == "analyses" and len(parts) > 1 and content.get("analyses") in (None, {}):
        # none named means all; to name one now would leave out the others
        content["analyses"] = {name: {} for name in usual(len(content.get("given") or ()), bool(content.get("source")))}
    inner = content
    for part in parts[:-1]:
        step = inner.setdefault(part, {})
        if step is None:
            step = inner[part] = {}
        if not isinstance(step, dict):
            raise BadStudy(f"`{override}`: `{part}` is a value, it has no keys inside")
        inner = step
    shown = override if len(override) <= 80 else f"{override[:79]}…"
    try:
        inner[parts[-1]] = parse(value)[1]
    except NotPlain as error:
        raise BadStudy(f"the change {shown}: {error}") from None
    return tuple(parts), shown


def _where(path: Path, node: yaml.Node | None, changes: Sequence[tuple[Location, str]], location: Location) -> str:
    for parts, shown in reversed(changes):
        if location[: len(parts)] == parts:
            return f"the change {shown}"
    line, found = _line(node, location)
    known = location[: found + 1]
    for parts, shown in reversed(changes):
        if known and parts[: len(known)] == known:
            # in the file: it does not go together with the change; not in the file: the change has made it
            return f"{path}:{line} with the change {shown}" if found == len(location) else f"the change {shown}"
    return f"{path}:{line}"


def _line(node: yaml.Node | None, location: Location) -> tuple[int, int]:
    """Give the line of the deepest part of a key path that is in the file, and how many parts are."""
    line = 1
    for number, part in enumerate(location):
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                return line, number
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line, number
    return line, len(location)
