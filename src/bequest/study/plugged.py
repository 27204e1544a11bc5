"""What may a study file say of an analysis from another package?

A key under `analyses` that Bequest does not know is looked for among those that installed packages announce. Its
options are checked by its own pydantic model, and as strictly as Bequest's own: an unknown one is an error.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError, create_model
from pydantic_core import InitErrorDetails, PydanticCustomError

from bequest.analyses.plugins import announced, package_of, plugin


@dataclass(frozen=True)
class Said:
    """What a study file says of an analysis that is not Bequest's, before it is checked.

    Attributes:
        name: of the analysis.
        options: as the file has them, or checked already.
    """

    name: str
    options: Any


def model_of(name: str, base: type[BaseModel]) -> type[BaseModel]:
    """Give the model of the options of a plug-in, with those that every analysis has.

    Args:
        name: what its package announces it as.
        base: the options of every analysis, whose strictness holds.

    Returns:
        A model that is both.

    Raises:
        LookupError: if there is no such plug-in.
        ValueError: if it cannot be imported, or lacks a part.
    """
    return _joined(name, plugin(name).options, base)


def checked(said: Any, base: type[BaseModel]) -> Any:
    """Check the options of a plug-in.

    Args:
        said: a `Said`, or options that were checked before.
        base: see `model_of`.

    Returns:
        The options, of the plug-in's own kind and of `base`.

    Raises:
        ValidationError: if there is no such plug-in, or its model does not accept them.
        ValueError: if it cannot be imported, or lacks a part.
    """
    if not isinstance(said, Said):
        return said
    if isinstance(said.options, base):
        return said.options
    if said.name not in announced():
        _refuse((), "extra_forbidden", said.options)
    return model_of(said.name, base).model_validate(said.options)


def refuse_taken(named: Mapping[str, Any], own: Collection[str]) -> None:
    """Refuse an analysis of Bequest that another package announces too: nobody could tell which one is meant.

    Args:
        named: what a study file says under `analyses`.
        own: the names of Bequest's analyses.

    Raises:
        ValidationError: names the package.
    """
    others = announced()
    for name in named:
        if name in own and name in others:
            package = package_of(others[name][0])
            said = f"{package} announces an analysis of this name, which is Bequest's own; uninstall or rename it"
            _refuse((name,), PydanticCustomError("taken", "{said}", {"said": said}), named[name])


@functools.cache  # so that the same options, read twice, are equal
def _joined(name: str, options: type[BaseModel], base: type[BaseModel]) -> type[BaseModel]:
    return create_model(name, __base__=(options, base))


def _refuse(location: tuple[str, ...], kind: str | PydanticCustomError, given: Any) -> NoReturn:
    error = InitErrorDetails(type=kind, loc=location, input=given)
    raise ValidationError.from_exception_data("Analyses", [error])
