"""How is a study file read, and what is said when it is wrong?

Each complaint is one message with the file, the line, the key and the way out. YAML is read by the safe loader.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from bequest.study.spec import Study

LARGEST = 1_000_000  # bytes; a study file is a page of text


class BadStudy(ValueError):
    """A study file that cannot be used; the message says where and what to do."""


def read_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study file.

    Args:
        path: a YAML file.
        overrides: changes as `key.path=value`; the value is YAML.

    Returns:
        The study, checked.

    Raises:
        BadStudy: if the file is missing, is not YAML, or says something that is not known or out of range.
    """
    if not path.is_file():
        raise BadStudy(f"{path}: no such study file; `bequest demo` runs one that comes with Bequest")
    if path.stat().st_size > LARGEST:
        raise BadStudy(f"{path}: {path.stat().st_size:,} bytes are too many for a study file (at most {LARGEST:,})")
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else f"{path}"
        raise BadStudy(f"{where}: not readable as YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(content, dict):
        raise BadStudy(f"{path}: a study file is a list of `key: value` lines, starting with `name:`")
    for override in overrides:
        _override(content, override)
    study = check(content, lambda location: _where(path, node, location))
    if study.source.weights is not None and not study.source.weights.is_absolute():
        absolute = (path.parent / study.source.weights).resolve()
        study = study.model_copy(update={"source": study.source.model_copy(update={"weights": absolute})})
    return study


def check(content: dict[str, Any], where: Any = lambda location: "study") -> Study:
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
        first = error.errors(include_url=False)[0]
        location = tuple(part for part in first["loc"] if part != "[key]")
        dotted = ".".join(str(part) for part in location)
        text = f"{where(location)}: {_complaint(first, location)}"
        more = error.error_count() - 1
        further = f" ({more} further complaint{'s' * (more > 1)})" if more else ""
        raise BadStudy(text.replace("KEY", dotted) + further) from None


def dump(study: Study) -> str:
    """Write a study as YAML, with every default spelled out; `read_study` gives the same study back."""
    return yaml.safe_dump(study.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


def _complaint(error: Any, location: tuple[str | int, ...]) -> str:
    if error["type"] == "extra_forbidden":
        known = _fields_at(location[:-1])
        return f"unknown key `KEY`; {nearest(str(location[-1]), known)}"
    if error["type"] == "missing":
        return "`KEY` is missing"
    shown = repr(error.get("input"))
    message = error["msg"].removeprefix("Value error, ")
    return f"`KEY` is {shown[:80]}: {message[0].lower()}{message[1:]}"


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
        annotation = field.annotation if field else kind
        kind = next((k for k in _models_in(annotation)), kind)
    return list(kind.model_fields)


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise BadStudy(f"`{override}`: a change is written key.path=value, as in barrier.points=11")
    parts = key.split(".")
    if parts[0] in _fields_at(["analyses"]):  # barrier.points is short for analyses.barrier.points
        parts = ["analyses", *parts]
    inner = content
    for part in parts[:-1]:
        step = inner.setdefault(part, {})
        if step is None:
            step = inner[part] = {}
        if not isinstance(step, dict):
            raise BadStudy(f"`{override}`: `{part}` is a value, it has no keys inside")
        inner = step
    try:
        inner[parts[-1]] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise BadStudy(f"`{override}`: the value is not readable as YAML") from None


def _where(path: Path, node: yaml.Node | None, location: tuple[str | int, ...]) -> str:
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return f"{path}:{line}"
