"""Which keys has a study file? Asked of the models that read it."""

import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bequest.study.spec import Study

WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
LIMITS = {
    "ge": "at least {}",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "min_length": "{} or more of them",
}


def study_keys() -> str:
    """Give all keys of a study file, model by model, as Markdown."""
    return "\n\n".join(_part(model, title) for model, title in TITLES.items())


def _titles(model: type[BaseModel], prefix: str = "") -> dict[type[BaseModel], str]:
    """Each model below this one, and the first key that has it."""
    found: dict[type[BaseModel], str] = {}
    for name, field in model.model_fields.items():
        for kind in _models(field.annotation):
            title = prefix + name + (".NAME" if get_origin(field.annotation) is dict else "")
            found = found | {kind: title} | _titles(kind, f"{title}.") | found  # what has a title keeps it
    return found


def _part(model: type[BaseModel], title: str) -> str:
    about = " ".join((model.__doc__ or "").split())
    keys = [_key(name, field) for name, field in model.model_fields.items()]
    return "\n\n".join([f"## `{title}`", about, *keys])


def _key(name: str, field: FieldInfo) -> str:
    said = [_kind(field.annotation)]
    for rule in field.metadata:
        said += [words.format(f"{getattr(rule, limit):,}") for limit, words in LIMITS.items() if hasattr(rule, limit)]
    said.append("required" if field.is_required() else f"default {_default(field)}")
    about = f"\n\n  {field.description}" if field.description else ""
    return f"`{name}`\n: {'; '.join(said)}.{about}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "as below"
    if value is None or value in ((), {}, ""):
        return "none"
    plain = list(value) if isinstance(value, tuple) else value
    plain = {key: list(one) for key, one in plain.items()} if isinstance(plain, Mapping) else plain
    written = yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n")
    return f"`{written.strip()}`"


def _kind(annotation: Any) -> str:
    """An annotation in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(one) for one in inner if one is not type(None))
    if origin is tuple:
        several = _kind(inner[0]) + ("s" if inner[0] in (str, int, float) else "")
        return f"a list of {several}" if inner[-1] is Ellipsis else f"{len(inner)} {several}"
    if origin is dict:
        return f"a map from {_kind(inner[0])} to {_kind(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        title = TITLES[annotation]
        return f"the keys of [`{title}`](#{title.replace('.', '').lower()})"
    return WORDS.get(annotation) or getattr(annotation, "__name__", "anything")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


TITLES = {Study: "study", **_titles(Study)}
