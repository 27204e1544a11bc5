"""What should be done, according to what a study tried out?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

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


@dataclass(frozen=True)
class Advice:
    """One decision on one target.

    Attributes:
        decision: its name.
        target: what it is about.
        sentence: what to do, with the numbers.
        sure: `measured`, `inconclusive` or `refused`.
        rows: what was measured.
        costs: seconds, images and further ones.
        weights: the file of weights that it made, if it made any, in the study's folder.
    """

    decision: str
    target: str
    sentence: str
    sure: str
    rows: pl.DataFrame
    costs: Mapping[str, float] = field(default_factory=dict)
    weights: str | None = None

    @property
    def title(self) -> str:
        """The question, in words."""
        return TITLES.get(self.decision, self.decision.capitalize())

    @property
    def word(self) -> str:
        """How sure it is, in words."""
        return WORDS[self.sure]

    @property
    def cost(self) -> str:
        """What it took."""
        known = {"seconds": "{:,.0f} seconds", "images": "{:,.0f} images through the network"}
        return ", ".join(form.format(self.costs[name]) for name, form in known.items() if name in self.costs)

    @property
    def table(self) -> Table:
        """The rows as a table."""
        return result_table(self.rows, f"{self.title}, {self.target}: rows")


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
