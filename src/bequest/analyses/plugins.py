"""Which analyses come from other packages, and is what they give sound?

A package announces an analysis in the entry point group `bequest.analyses`: a name, and an object (a module will do)
that has

* `name`, that of the entry point, and `version`, raised whenever the result for the same options changes;
* `Options`, a pydantic model of what a study file may say of it;
* `measure(material, options) -> Result`, `chart(rows)` and `verdict(rows)`, as the analyses of Bequest have.

The first paragraph of its docstring is the question that it asks. Nothing is imported before a study names it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a study file is read, and its mistakes are told, before any of these is loaded
    import altair
    import polars
    from pydantic import BaseModel

    from bequest.analyses.material import Material
    from bequest.analyses.result import Result
    from bequest.analyses.verdict import Verdict

GROUP = "bequest.analyses"
PARTS = ("name", "version", "Options", "measure", "chart", "verdict")


@dataclass(frozen=True)
class Plugin:
    """An analysis of another package, whose results are looked at before they are used.

    Attributes:
        name: what a study file calls it.
        version: raised by its author whenever the result for the same options changes.
        package: name and version of the package that announced it.
        about: its docstring; the first paragraph is its question.
        options: the pydantic model of its options.
        measuring: its `measure`.
        drawing: its `chart`.
        judging: its `verdict`.
    """

    name: str
    version: int
    package: str
    about: str
    options: type[BaseModel]
    measuring: Callable[..., Any]
    drawing: Callable[..., Any]
    judging: Callable[..., Any]

    def measure(self, material: Material, options: BaseModel) -> Result:
        """Make the analysis.

        Args:
            material: what it is made of.
            options: of its own kind.

        Returns:
            Its result, in whose rows every column has its type.

        Raises:
            TypeError: if it gave something else.
        """
        import polars

        from bequest.analyses.result import COLUMNS, Result

        result = self.measuring(material, options)
        if not isinstance(result, Result):
            raise self._wrong("measure", f"gave {_kind(result)}, not a bequest.Result")
        if not isinstance(result.rows, polars.DataFrame) or not result.rows.height:
            raise self._wrong("measure", "gave a result without rows")
        found = result.rows.schema
        for column, kind in COLUMNS.items():
            if found.get(column) != kind:
                there = f"is {found[column]}" if column in found else "is missing"
                raise self._wrong(
                    "measure", f"gave rows in which {column} {there}, not {kind.__name__}; make them with bequest.table"
                )
        names = {result.analysis, *result.rows["analysis"]}
        if names != {self.name}:
            raise self._wrong("measure", f"gave rows that are named {', '.join(sorted(map(str, names)))}")
        return result

    def chart(self, rows: polars.DataFrame) -> altair.TopLevelMixin:
        """Draw the rows.

        Args:
            rows: of `measure`.

        Returns:
            An altair chart.

        Raises:
            TypeError: if it gave something else.
        """
        import altair

        drawn = self.drawing(rows)
        if not isinstance(drawn, altair.TopLevelMixin):
            raise self._wrong("chart", f"gave {_kind(drawn)}, not an altair chart")
        return drawn

    def verdict(self, rows: polars.DataFrame) -> tuple[Verdict, ...]:
        """Judge the rows.

        Args:
            rows: of `measure`.

        Returns:
            What they say of each claim that the analysis can judge; none, if it can judge none.

        Raises:
            TypeError: if it gave something else.
        """
        from bequest.analyses.verdict import CLAIMS, STATUSES, Verdict

        judged = self.judging(rows)
        if not isinstance(judged, tuple | list) or not all(isinstance(one, Verdict) for one in judged):
            raise self._wrong("verdict", f"gave {_kind(judged)}, not a tuple of bequest.Verdict (an empty one will do)")
        for one in judged:
            if one.claim not in CLAIMS or one.status not in STATUSES:
                known = f"claims are {', '.join(CLAIMS)}, and the words {', '.join(STATUSES)}"
                raise self._wrong("verdict", f"says {one.status!r} of {one.claim!r}; {known}")
        return tuple(judged)

    def _wrong(self, part: str, what: str) -> TypeError:
        return TypeError(f"{part} of the analysis {self.name} ({self.package}) {what}")


def announced() -> dict[str, list[EntryPoint]]:
    """Find the analyses that installed packages announce, without importing them.

    Returns:
        Name -> the entry points that have it; one, unless packages are in each other's way.
    """
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    return found


def built_in() -> set[str]:
    """Give the names that Bequest's own files have in this room; no other package may use them."""
    return {one.name for one in pkgutil.iter_modules([str(Path(__file__).parent)])}


def package_of(entry: EntryPoint) -> str:
    """Write the name and version of the package that announces an analysis."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an installed package"


def plugin(name: str) -> Plugin:
    """Import an analysis of another package.

    Args:
        name: what its package announces it as.

    Returns:
        The analysis, with all its parts.

    Raises:
        LookupError: if no installed package announces it.
        ValueError: if it cannot be imported, or lacks a part; the message names the package and the way out.
    """
    entries = announced().get(name, [])
    if not entries:
        raise LookupError(f"no installed package announces an analysis {name}; install the one that has it")
    entry = entries[0]
    said = f"the analysis {name} of {' and of '.join(sorted(map(package_of, entries)))}"
    if len(entries) > 1:
        raise ValueError(f"{said} is announced twice; uninstall one of the packages")
    if name in built_in() or not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise ValueError(f"{said} cannot have this name; take small letters, and none that Bequest uses")
    try:
        thing = entry.load()
    except Exception as error:  # whatever its import does
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{said} cannot be imported ({entry.value}): {reason}; mend or uninstall it") from error
    if lacking := [part for part in PARTS if not hasattr(thing, part)]:
        raise ValueError(f"{said} has no {', '.join(lacking)}; an analysis has {', '.join(PARTS)}")
    if complaint := _complaint(name, thing):
        raise ValueError(f"{said} {complaint}")
    about = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    return Plugin(
        name, thing.version, package_of(entry), about, thing.Options, thing.measure, thing.chart, thing.verdict
    )


def _complaint(name: str, thing: Any) -> str:
    """What is wrong with the parts of an analysis; nothing if all is well."""
    from pydantic import BaseModel

    if thing.name != name:
        return f"calls itself {thing.name!r}; name and entry point must be alike"
    if type(thing.version) is not int or thing.version < 1:
        return f"has the version {thing.version!r}; it must be a whole number from 1"
    if not (isinstance(thing.Options, type) and issubclass(thing.Options, BaseModel)):
        return "has Options that are no pydantic model"
    if "targets" in thing.Options.model_fields:
        return "has an option `targets`; Bequest gives every analysis that one"
    wrong = next((part for part in ("measure", "chart", "verdict") if not callable(getattr(thing, part))), None)
    return f"has a {wrong} that cannot be called" if wrong else ""


def maker(name: str) -> Any:
    """Find what can draw and judge the rows of an analysis: one of Bequest's modules, or a plug-in."""
    return importlib.import_module(f"bequest.analyses.{name}") if name in built_in() else plugin(name)


def about(name: str) -> str:
    """Give the docstring of an analysis; nothing if it has none, or there is no such analysis here."""
    if name in built_in():
        return inspect.cleandoc(importlib.import_module(f"bequest.analyses.{name}").__doc__ or "")
    try:
        return plugin(name).about
    except (LookupError, ValueError):
        return ""


def _kind(thing: Any) -> str:
    return "nothing" if thing is None else f"a {type(thing).__name__}"
