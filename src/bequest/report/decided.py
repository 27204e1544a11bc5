"""What does the page say of each decision: what to do, what was run to know it, what that took?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from bequest.report.contents import Decided
from bequest.report.tables import Table, frame_table, number, result_table

if TYPE_CHECKING:
    from bequest.study.plan import Plan
    from bequest.study.store import Store

TITLES = {
    "soup": "May the fine-tunes be averaged?",
    "freeze": "Which modules can stay as pre-trained?",
}
SHAPES = {"measured": "holds", "inconclusive": "unclear", "refused": "fails"}
WORDS = {"measured": "measured", "inconclusive": "not sure", "refused": "better not"}
NUMBERS = ("difference", "flops", "memory", "seconds", "inferences", "learning_rate")  # columns, after the errors


@dataclass(frozen=True)
class Advice:
    """A decision on the page.

    Attributes:
        key: id of its place.
        title: the question.
        target: what it is about.
        sentence: what to do.
        word: how sure that is.
        shape: the drawing beside it.
        candidates: what was run, one row each.
        table: all rows.
        costs: what it took, in words.
        weights: the file that it made, seen from the study's folder.
        note: what has to be known besides.
    """

    key: str
    title: str
    target: str
    sentence: str
    word: str
    shape: str
    candidates: Table
    table: Table
    costs: str
    weights: str | None
    note: str | None


def gathered(plan: Plan, store: Store) -> Iterator[Decided]:
    """Collect the decisions of a study that are there.

    Args:
        plan: the study's steps.
        store: where their results are.

    Yields:
        Each decision, by target.
    """
    for (_, target), step in plan.decided.items():
        if store.has(step):
            artefact = store.checked(step)
            about = artefact.json("decision")
            file = about["weights"]
            place = (artefact.folder / file).relative_to(store.root).as_posix() if file else None
            yield Decided(
                about["name"],
                target,
                about["advice"],
                about["sure"],
                artefact.rows(),
                dict(about["costs"]),
                place,
                about.get("note"),
            )


def advices(decided: Sequence[Decided]) -> list[Advice]:
    """Make what the page shows of decisions.

    Args:
        decided: the decisions.

    Returns:
        One entry each, in order.
    """
    found = []
    for place, one in enumerate(decided):
        title = TITLES.get(one.name, one.name.replace("_", " ").capitalize())
        caption = f"{title} What was run"
        found.append(
            Advice(
                f"decision-{place}",
                title,
                one.target,
                one.advice,
                WORDS.get(one.sure, one.sure),
                SHAPES.get(one.sure, "unclear"),
                frame_table(candidates(one.rows), f"{caption} on {one.target}"),
                result_table(one.rows, f"{title} Rows on {one.target}"),
                ", ".join(f"{number(value)} {name.replace('_', ' ')}" for name, value in one.costs.items()),
                one.weights,
                one.note,
            )
        )
    return found


def candidates(rows: pl.DataFrame) -> pl.DataFrame:
    """Put what was tried side by side, a row a candidate.

    Args:
        rows: of a decision.

    Returns:
        Columns `tried`, the errors by split and domain, and further numbers that the rows have.
    """
    whole = rows.filter((pl.col("module") == "*").fill_null(value=True), pl.col("a").is_not_null())
    alphas = dict(whole.filter(metric="alpha").select("a", "value").iter_rows())
    tried: dict[str, dict[str, Any]] = {}
    for row in whole.iter_rows(named=True):
        column = _column(row)
        if column is None or (row["a"] in alphas and row["x"] is not None and row["x"] != alphas[row["a"]]):
            continue
        tried.setdefault(row["a"], {})[column] = row["value"]
    order: Mapping[str, None] = {name: None for values in tried.values() for name in values}
    errors = [name for name in order if "error" in name]
    columns = errors + [name for name in (one.replace("_", " ") for one in NUMBERS) if name in order]
    content = {"tried": list(tried)} | {name: [values.get(name) for values in tried.values()] for name in columns}
    return pl.DataFrame({name.replace(" ", "_"): values for name, values in content.items()}, strict=False)


def _column(row: Mapping[str, Any]) -> str | None:
    """The column of a number; None for one that is not of a candidate alone."""
    if row["metric"] == "error":
        domain = row.get("domain")
        return f"{domain or row['split']} error" if domain or row["split"] else "error"
    if row["metric"] == "difference" and row["split"] == "test" and row.get("domain") is None:
        return "difference"
    return row["metric"].replace("_", " ") if row["metric"] in NUMBERS[1:] else None
