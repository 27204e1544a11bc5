"""Which keys has a study file? Asked of the models that read it."""

import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bequest.study.options import Analyses
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
    models = list(dict.fromkeys([Study, *_below(Study)]))
    return "\n\n".join(_part(model) for model in sorted(models, key=lambda model: "." in _title(model)))


def _title(model: type[BaseModel]) -> str:
    of_analyses = {kind: name for name, field in Analyses.model_fields.items() for kind in _models(field.annotation)}
    if model in of_analyses:
        return f"analyses.{of_analyses[model]}"
    return "study" if model is Study else model.__name__.lower()


def _part(model: type[BaseModel]) -> str:
    about = " ".join((model.__doc__ or "").split())
    keys = [_key(name, field) for name, field in model.model_fields.items()]
    return "\n\n".join([f"## `{_title(model)}`", about, *keys])


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
        title = _title(annotation)
        return f"the keys of [`{title}`](#{title.replace('.', '')})"
    return WORDS[annotation]


def _below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for field in model.model_fields.values():
        for kind in _models(field.annotation):
            yield kind
            yield from _below(kind)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
