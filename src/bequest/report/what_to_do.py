"""What should be done, according to what a study tried out?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bequest.report.candidates import candidates
from bequest.report.contents import Advice
from bequest.report.tables import Table, frame_table, result_table

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
WORDS = {"measured": "measured", "inconclusive": "not sure", "refused": "refused"}
SHAPES = {"measured": "holds", "inconclusive": "unclear", "refused": "fails"}
TRIED = ("freeze", "soup")  # their rows are about candidates
COSTS = {"seconds": "{:,.0f} seconds", "images": "{:,.0f} images through the network"}


@dataclass(frozen=True)
class Told:
    """An advice as the page shows it.

    Attributes:
        advice: what was decided.
        title: the question.
        word: how sure it is.
        cost: what it took.
        table: the rows.
        shape: the drawing beside it.
        candidates: what was run, one row each, where the rows have candidates.
    """

    advice: Advice
    title: str
    word: str
    cost: str
    table: Table
    shape: str
    candidates: Table | None = None


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


def told(made: Sequence[Advice], targets: Sequence[str]) -> list[Told]:
    """Give decisions as the page shows them.

    Args:
        made: the decisions.
        targets: all targets of the study: one alone is not named.

    Returns:
        One for each, in order.
    """
    found = []
    for advice in made:
        title = TITLES.get(advice.decision, advice.decision.capitalize())
        title = f"{title}: {advice.target}" if len(targets) > 1 else title
        cost = ", ".join(form.format(advice.costs[name]) for name, form in COSTS.items() if name in advice.costs)
        tried = frame_table(candidates(advice.rows), f"{title}: what was run") if advice.decision in TRIED else None
        rows = result_table(advice.rows, f"{title}: rows")
        found.append(Told(advice, title, WORDS[advice.sure], cost, rows, SHAPES[advice.sure], tried))
    return found
