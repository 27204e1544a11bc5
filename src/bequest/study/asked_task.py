"""Which task does a data set set?

Its records tell: one class each is `classification`, several labels or none is `multilabel`. A study may name the task,
so that data of another kind than was thought end in a message and not in numbers.
"""

from __future__ import annotations

from typing import Literal

from bequest.data.source import Source

TaskName = Literal["classification", "multilabel"]
Asked = Literal["auto", "classification", "multilabel"]


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
    labels = bool(domain.records) and isinstance(domain.records[0].target, tuple)
    found: TaskName = "multilabel" if labels else "classification"
    if asked not in ("auto", found):
        what = "several labels an example" if labels else "one class an example"
        raise ValueError(f"{where} is {asked}, but {domain.name} has {what}; leave it out, or write {found}")
    return found
