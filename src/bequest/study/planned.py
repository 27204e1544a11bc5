"""Which steps does a study in a folder have, told without its data?

A run writes its plan beside its results, as `plans/NAME.json`: keys, labels, costs and inputs. So another machine,
which has neither the images nor the network, can say how far the study is and what belongs to it. Studies of several
names in one folder have a plan each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bequest.study.step import Step
from bequest.study.store import StoreError, told, write_whole

FOLDER = "plans"


@dataclass(frozen=True)
class Planned:
    """A step of a plan, as it is written down.

    Attributes:
        key: the name of its result's folder.
        label: what people see.
        function: the name of its function.
        cost: as in `Step`.
        inputs: keys of the steps that it needs.
    """

    key: str
    label: str
    function: str
    cost: float
    inputs: tuple[str, ...]


def noted(steps: Iterable[Step]) -> list[Planned]:
    """Give the steps of a plan as they are written down."""
    return [
        Planned(step.key, step.label, step.function, step.cost, tuple(one.key for one in step.inputs.values()))
        for step in steps
    ]


def write_plan(folder: Path, name: str, steps: Sequence[Step]) -> None:
    """Write down the steps of a study; nothing is touched where the same is written already.

    Args:
        folder: the study's folder.
        name: the study's name, which is plain enough for a file.
        steps: all of them, each after its inputs.
    """
    lines = [json.dumps(vars(step), ensure_ascii=False) for step in noted(steps)]
    text = "[\n" + ",\n".join(lines) + "\n]\n"
    place = folder / FOLDER / f"{name}.json"
    if place.is_file() and place.read_text(encoding="utf-8") == text:
        return
    with told(folder):
        place.parent.mkdir(exist_ok=True)
    write_whole(place, text)


def written_plan(folder: Path, name: str) -> list[Planned] | None:
    """Read the plan of a study.

    Args:
        folder: the study's folder.
        name: the study's name.

    Returns:
        Its steps; None where none was written, as by older versions.

    Raises:
        StoreError: if the file cannot be read.
    """
    path = folder / FOLDER / f"{name}.json"
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else None


def written_plans(folder: Path) -> dict[str, list[Planned]]:
    """Read all plans in a folder.

    Args:
        folder: a study's folder.

    Returns:
        The steps by the name of the study.

    Raises:
        StoreError: names a file that cannot be read.
    """
    return {path.stem: _read(path, path.stat().st_mtime_ns) for path in sorted((folder / FOLDER).glob("*.json"))}


@lru_cache(maxsize=4)  # who watches a study asks every few seconds
def _read(path: Path, changed: int) -> list[Planned]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [Planned(**(one | {"inputs": tuple(one["inputs"])})) for one in found]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path} cannot be read ({error}); `bequest run` writes it again") from None
