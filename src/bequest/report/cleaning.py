"""How is a folder of studies cleaned up: what is shown, what is asked, what is left alone?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bequest.report.status import steps_in
from bequest.study.leftovers import Leftover, leftovers, remove
from bequest.study.planned import written_plans
from bequest.study.store import StoreError

SHOWN = 40  # lines; the sums are of all


def clean_up(folder: Path, agreed: Callable[[str], bool] | None, console: Console | None = None) -> int:
    """Remove what no study in a folder refers to, after showing it.

    Args:
        folder: the folder of a study, or one that holds such folders.
        agreed: is asked a question; None asks nothing and removes nothing.
        console: where to; standard output if left out.

    Returns:
        Bytes that were removed.

    Raises:
        FileNotFoundError: if there is no study.
        StoreError: if a run works in the folder.
    """
    console = console or Console(emoji=False)
    places = [folder] if _is_study(folder) else _studies_in(folder)
    if not places:
        raise FileNotFoundError(
            f"{folder}: no study here; name the folder that `bequest run` wrote, as in studies/emoji, or the one above"
        )
    removed, busy = 0, []
    for place in places:
        found = leftovers(place, wanted_in(place))
        _show(place, found, console)
        if not found or agreed is None or not agreed(f"Remove these {len(found)} from {place}?"):
            continue
        try:
            gone = remove(place, found, partial(wanted_in, place))
        except StoreError as error:
            busy.append(error)
            console.print(f"nothing removed: {error}", markup=False, highlight=False, soft_wrap=True)
            continue
        removed += gone
        console.print(f"removed {size(gone)}", highlight=False)
    if busy and len(places) == 1:
        raise busy[0]
    return removed


def wanted_in(place: Path) -> set[str]:
    """Give the keys of all steps that the studies in a folder refer to, the one of its `study.yaml` included."""
    plans = [*written_plans(place).values(), steps_in(place)]
    return {step.key for steps in plans for step in steps}


def size(count: float) -> str:
    """Say a number of bytes in words, as `3.2 MB`."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the loop ends with TB")


def _studies_in(folder: Path) -> list[Path]:
    """The studies right below a folder; a link may lead out of it."""
    return sorted(path for path in folder.glob("*") if _is_study(path) and not path.is_symlink())


def _is_study(path: Path) -> bool:
    return path.is_dir() and (path / "study.yaml").is_file()


def _show(place: Path, found: list[Leftover], console: Console) -> None:
    if not found:
        console.print(f"{place}: nothing to remove", markup=False, highlight=False, soft_wrap=True)
        return
    total = sum(one.bytes for one in found)
    heading = f"{place}: {len(found)} folders that no study refers to, {size(total)}"
    console.print(heading, markup=False, highlight=False, soft_wrap=True)
    shown = Table("size", "what", "was", "folder", box=None)
    for one in found[:SHOWN]:
        name = one.folder.relative_to(place)
        shown.add_row(
            size(one.bytes),
            one.kind,
            Text("".join(letter if letter.isprintable() else " " for letter in one.label)),
            Text(str(name), overflow="fold"),
        )
    console.print(shown)
    if len(found) > SHOWN:
        console.print(f"and {len(found) - SHOWN} smaller ones", highlight=False)
