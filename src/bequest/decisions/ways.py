"""Which ways of training a pre-trained network are worth a try: what stays, and how fast does the rest learn?

The candidates are few, as each is trained. Beginnings of the network in order of execution, evenly spaced; the half
that is least critical, or all that rewinding showed to be uncritical; the half whose features are most like those of P;
and sets that the caller names. Beside them the usual ways: everything (`finetune`), the head alone (`probe`), the head
and then everything (`lp-ft`, Kumar et al. 2022), everything with slower learning towards the input (`slower`), and
everything as fast as the gradients say (`auto-rgn`, Lee et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import polars as pl
from torch import nn

from bequest.analyses.pairs import PRETRAINED, arm
from bequest.models.head import head_name
from bequest.weights.modules import Module

Rule = Literal["finetune", "probe", "lp-ft", "slower", "auto-rgn"]
RULES: tuple[Rule, ...] = get_args(Rule)
SLOWEST = 0.1  # of the learning rate, for the first module of `slower` (chosen); the head has all of it


@dataclass(frozen=True)
class Way:
    """A way of training.

    Attributes:
        name: as the rows call it.
        frozen: names of the modules that stay as pre-trained.
        rule: how what learns learns.
    """

    name: str
    frozen: tuple[str, ...] = ()
    rule: Rule = "finetune"


def body(model: nn.Module, units: Sequence[Module]) -> list[str]:
    """Give the modules below the head, in order of execution.

    Args:
        model: the network.
        units: its modules.

    Returns:
        Names of all but the one that holds the head; of a network without a linear layer, all but the last.
    """
    try:
        head = f"{head_name(model)}."
    except ValueError:
        head = ""
    holding = [unit.name for unit in units if head and any(name.startswith(head) for name in unit.parameters)]
    last = holding[0] if holding else units[-1].name
    return [unit.name for unit in units if unit.name != last]


def ways(
    order: Sequence[str],
    *,
    prefixes: int = 3,
    criticality: pl.DataFrame | None = None,
    similarity: pl.DataFrame | None = None,
    named: Mapping[str, Sequence[str]] | None = None,
    rules: Sequence[Rule] = RULES,
) -> list[Way]:
    """List the ways to try.

    Args:
        order: the modules below the head, in order of execution.
        prefixes: frozen beginnings to try, besides nothing and everything.
        criticality: rows of that analysis.
        similarity: rows of that analysis, with P.
        named: name -> modules to freeze.
        rules: the usual ways to try.

    Returns:
        The ways; two that would freeze the same modules are one.

    Raises:
        ValueError: if a named module is not in the network, or a rule is not known.
    """
    for rule in rules:
        if rule not in RULES:
            raise ValueError(f"there is no way {rule!r}; known: {', '.join(RULES)}")
    found = [Way(rule, (), rule) for rule in rules if rule != "probe"]
    count = len(order)
    cuts = sorted({round(count * part / (prefixes + 1)) for part in range(1, prefixes + 1)} - {0, count})
    found += [Way(f"frozen to {order[cut - 1]}", tuple(order[:cut])) for cut in cuts]
    half = max(1, count // 2)
    if criticality is not None and (ranked := least_critical(criticality, order)):
        found.append(Way("least critical half", _ordered([name for name, _ in ranked[:half]], order)))
        free = [name for name, cost in ranked if cost == 0]
        found += [Way("uncritical", _ordered(free, order))] if free else []
    if similarity is not None and (alike := most_alike(similarity, order)):
        found.append(Way("most alike half", _ordered(alike[:half], order)))
    for name, chosen in (named or {}).items():
        if unknown := [one for one in chosen if one not in order]:
            raise ValueError(f"{unknown[0]!r} in {name!r} is no module below the head; there are {', '.join(order)}")
        found.append(Way(name, _ordered(chosen, order)))
    if "probe" in rules:
        found.append(Way("probe", tuple(order), "probe"))
    return _once(found)


def least_critical(rows: pl.DataFrame, order: Sequence[str]) -> list[tuple[str, float]]:
    """Rank modules by criticality.

    Args:
        rows: of the analysis: `mu` where it was measured, else `rewind_error`. Runs of finetune if there are any.
        order: the modules to rank.

    Returns:
        Name and mean over runs, the least critical first; 0 is a module whose rewinding costs nothing. Modules that
        were not measured are not there.
    """
    rows = _of_finetune(rows, ["a"])
    for column, usual in (("path", "direct"), ("end", "last")):
        if column in rows.columns and usual in rows[column]:
            rows = rows.filter(pl.col(column) == usual)
    for metric in ("mu", "rewind_error"):
        if found := _means(rows.filter(pl.col("metric") == metric), order):
            return sorted(found.items(), key=lambda pair: pair[1])  # stable: of equals the earlier first
    return []


def most_alike(rows: pl.DataFrame, order: Sequence[str]) -> list[str]:
    """Rank modules by how alike their features are before and after fine-tuning, the most alike first.

    Args:
        rows: of `similarity`: `cka` between P and fine-tuned models, each module with itself.
        order: the modules to rank.

    Returns:
        Names; those that were not measured are not there.
    """
    rows = rows.filter((pl.col("metric") == "cka") & (pl.col("module") == pl.col("module_b")))
    rows = rows.filter((pl.col("a") == PRETRAINED) != (pl.col("b") == PRETRAINED))
    found = _means(_of_finetune(rows, ["a", "b"]), order)
    return sorted(found, key=lambda name: -found[name])


def _of_finetune(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The rows of fine-tuned runs; all of them where no run is called so."""
    mine = [any(arm(str(name)) == "finetune" for name in names) for names in rows.select(list(columns)).iter_rows()]
    return rows.filter(pl.Series(mine, dtype=pl.Boolean)) if any(mine) else rows


def _means(rows: pl.DataFrame, order: Sequence[str]) -> dict[str, float]:
    """Mean value of each module, in order; infinite where one is."""
    found = {}
    for name in order:
        values = [value for value in rows.filter(pl.col("module") == name)["value"] if value is not None]
        if values and not any(math.isnan(value) for value in values):
            found[name] = sum(values) / len(values)
    return found


def _ordered(names: Sequence[str], order: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in order if name in names)


def _once(found: Sequence[Way]) -> list[Way]:
    """Without those that do the same as one before; the probe keeps its name."""
    kept: list[Way] = []
    for way in sorted(found, key=lambda one: one.rule != "probe"):
        if not any((way.frozen, _kind(way)) == (other.frozen, _kind(other)) for other in kept):
            kept.append(way)
    return [way for way in found if way in kept]


def _kind(way: Way) -> str:
    return "finetune" if way.rule == "probe" else way.rule
