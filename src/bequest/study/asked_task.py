"""Which task does a data set set?

Its records tell: one class each is `classification`, several labels or none is `multilabel`, texts without classes are
`language-modelling`. A study may name the task, so that data of another kind than was thought end in a message and not
in numbers.
"""

from __future__ import annotations

from typing import Literal

from bequest.data.source import Source

TaskName = Literal["classification", "multilabel", "language-modelling"]
Asked = Literal["auto", "classification", "multilabel", "language-modelling"]


def task_for(domain: Source, asked: Asked = "auto", where: str = "") -> TaskName:
    """Find the task of a data set.

    Args:
        domain: the data.
        asked: what the study says.
        where: its key, for the message.

    Returns:
        The task.

    Raises:
        ValueError: if the data do not have targets for the task that is asked for.
    """
    found: TaskName = "multilabel" if domain.multilabel else "classification"
    if domain.texts and not domain.classes:
        found = "language-modelling"
    if asked in ("auto", found):
        return found
    what = {
        "multilabel": "several labels an example",
        "classification": "one class an example",
        "language-modelling": "texts without classes",
    }[found]
    way_out = f"leave it out, or write {found}"
    if asked == "language-modelling" and domain.texts:
        way_out = "write text:FILE?label=none to leave the classes out"
    raise ValueError(f"{where} is {asked}, but {domain.name} has {what}; {way_out}")
