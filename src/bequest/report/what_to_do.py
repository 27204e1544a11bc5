"""What should be done, according to what a study tried out?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bequest.report.contents import Advice
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
WORDS = {"measured": "measured", "inconclusive": "not sure", "refused": "refused"}
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
    """

    advice: Advice
    title: str
    word: str
    cost: str
    table: Table


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
            made = artefact.folder / "weights.safetensors"
            weights = str(made.relative_to(store.root)) if made.is_file() else None
            yield Advice(decision, target, told["advice"], told["sure"], artefact.rows(), told["costs"], weights)


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
        found.append(Told(advice, title, WORDS[advice.sure], cost, result_table(advice.rows, f"{title}: rows")))
    return found
