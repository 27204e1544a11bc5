"""What should be done, according to what a study tried out?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from bequest.report.candidates import candidates
from bequest.report.charts import Chart
from bequest.report.contents import Advice
from bequest.report.decision_charts import READING, decision_chart
from bequest.report.tables import Table, result_table

if TYPE_CHECKING:
    from bequest.study.plan import Plan
    from bequest.study.store import Store

TITLES = {
    "freeze": "Which modules to freeze",
    "soup": "Which fine-tunes to average",
    "checkpoint": "When to stop the pre-training",
    "source": "What to start from",
    "labels": "Whether to transfer, and what it is worth in labels",
}
WORDS = {"measured": "measured", "inconclusive": "inconclusive", "refused": "refused"}
SHAPES = {"measured": "holds", "inconclusive": "unclear", "refused": "fails"}
COSTS = {"seconds": "{:,.0f} seconds", "images": "{:,.0f} examples through the network"}
SAVED = {  # what following an advice saves, by metric
    "saved_share": "{:.0f} % of the pre-training",
    "saved_images": "{:,.0f} examples learned from",
    "saved_seconds": "{:,.0f} seconds",
}


@dataclass(frozen=True)
class Told:
    """An advice as the page shows it.

    Attributes:
        advice: what was decided.
        title: the question.
        word: how sure it is.
        cost: what it took.
        saving: what following it saves, where that was worked out.
        table: the rows.
        shape: the drawing beside it.
        chart: what was tried, drawn where a curve says more than a table; its rows are the download.
        how: how to read it; empty where nothing is drawn.
        candidates: what was run, one row each, where the rows have candidates.
    """

    advice: Advice
    title: str
    word: str
    cost: str
    saving: str
    table: Table
    shape: str
    chart: Chart
    candidates: Table | None = None
    how: str = ""


def advices(plan: Plan, store: Store) -> Iterator[Advice]:
    """Give the decisions that a study has made.

    Args:
        plan: its steps.
        store: where their results are.

    Yields:
        One for each decision and target that is there, in the order of the study file.
    """
    for (decision, target), step in plan.decided.items():
        if store.has(step):
            artefact = store.checked(step)
            told = artefact.json("decision")
            file = told["weights"]
            weights = (artefact.folder / file).relative_to(store.root).as_posix() if file else None
            yield Advice(
                decision, target, told["advice"], told["sure"], artefact.rows(), told["costs"], weights, told["note"]
            )


def told(made: Sequence[Advice], targets: Sequence[str]) -> list[tuple[str, list[Told]]]:
    """Give decisions as the page shows them.

    Args:
        made: the decisions.
        targets: all targets of the study: one alone is not named.

    Returns:
        The question of each decision, in order, with what was decided on each target.
    """
    found: dict[str, list[Told]] = {}
    for place, advice in enumerate(made):
        question = TITLES.get(advice.decision, advice.decision.capitalize())
        title = f"{question}: {advice.target}" if len(targets) > 1 else question
        cost = ", ".join(form.format(advice.costs[name]) for name, form in COSTS.items() if name in advice.costs)
        short = advice.decision.capitalize() + (f", {advice.target}" if len(targets) > 1 else "")
        tried = candidates(advice.decision, advice.rows, f"{short}: what was run, with 95 % intervals")
        rows = result_table(advice.rows, f"{title}: rows")
        chart = decision_chart(advice.decision, advice.rows, f"chart-decide_{advice.decision}-{place}", title)
        shape, word = SHAPES[advice.sure], WORDS[advice.sure]
        one = Told(
            advice, title, word, cost, _saving(advice.rows), rows, shape, chart, tried, READING.get(advice.decision, "")
        )
        found.setdefault(question, []).append(one)
    return list(found.items())


def _saving(rows: pl.DataFrame) -> str:
    there = dict(rows.drop_nulls("value").select("metric", "value").iter_rows())
    there = {metric: 100 * value if metric == "saved_share" else value for metric, value in there.items()}
    return ", ".join(form.format(there[name]) for name, form in SAVED.items() if there.get(name))
