"""How is a study shown that is under way: as a table, as a live table, as lines for a log?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bequest.study.planned import Planned, noted, written_plan
from bequest.study.standing import STATES, Line, Looking, Standing, State
from bequest.study.strict_yaml import parse

COLOURS: dict[State, str] = {
    "waiting": "dim",
    "running": "bold cyan",
    "done": "green",
    "failed": "bold red",
    "begun": "yellow",
    "damaged": "bold red",
}
FIRST: tuple[State, ...] = ("running", "failed", "damaged", "begun", "done", "waiting")  # where not all fit
AROUND = 8  # lines of a terminal that the table leaves free


def steps_in(folder: Path) -> Sequence[Planned]:
    """Give the steps of the study in a folder, from the plan that its run wrote there.

    Args:
        folder: what `bequest run` wrote.

    Returns:
        The steps, each after its inputs.

    Raises:
        FileNotFoundError: if there is no study.
    """
    if not (folder / "study.yaml").is_file():
        raise FileNotFoundError(
            f"{folder}: no study here; name the folder that `bequest run` wrote, as in studies/emoji"
        )
    content = parse((folder / "study.yaml").read_text(encoding="utf-8"))[1]
    written = written_plan(folder, str(content["name"])) if isinstance(content, dict) and "name" in content else None
    if written is not None:
        return written
    from bequest.report.session import steps_of  # an older version wrote no plan: it is made again, from the data

    return noted(steps_of(folder))


def print_standing(folder: Path, console: Console | None = None) -> None:
    """Print a line a step, and the sums.

    Args:
        folder: the study's folder.
        console: where to; standard output if left out.
    """
    console = console or Console(emoji=False)
    standing = Looking(folder, steps_in(folder), closely=True).look()
    console.print(table(standing.lines))
    console.print(summary(standing), highlight=False, soft_wrap=True)


def watch(folder: Path, every: float, console: Console | None = None) -> None:
    """Show how a study goes on until nothing is left to do, or until Ctrl-C.

    Args:
        folder: the study's folder.
        every: seconds between two looks.
        console: where to; a live table on a terminal, elsewhere a line for each change.
    """
    console = console or Console(emoji=False)
    try:
        _live(folder, every, console) if console.is_terminal else _lines(folder, every, console)
    except KeyboardInterrupt:  # the way to stop looking; the run is another process
        console.print()


def summary(standing: Standing) -> Text:
    """Say in a line how many steps are in which state, and when the end will be."""
    counts = [(state, standing.count(state)) for state in STATES]
    words = [
        Text(f"{count} {state}", COLOURS[state])
        for state, count in counts
        if count or state not in ("begun", "damaged")
    ]
    said = Text(", ").join(words)
    if standing.count("done") == len(standing.lines):
        return said
    if standing.going and standing.left is not None:
        end = datetime.now() + timedelta(seconds=standing.left)
        day = f" on {end:%d %b}" if end.date() > datetime.now().date() else ""
        said.append(f"; about {duration(standing.left)} left, until {end:%H:%M}{day}")
    elif standing.going:
        said.append("; estimating")
    else:
        said.append("; no run works in this folder now")
    return said


def table(lines: Sequence[Line]) -> Table:
    """Lay out steps: state, seconds, what is left, device, memory."""
    shown = Table(box=None)
    for name, how in (("step", "left"), ("state", "left"), ("seconds", "right"), ("left", "right"), ("device", "left")):
        shown.add_column(name, justify=how)  # type: ignore[arg-type] # one of its literals
    shown.add_column("MiB", justify="right")
    for line in lines:
        state = f"running {line.share:.0%}" if line.state == "running" else line.state
        state += f": {_one_line(line.note)}" if line.note else ""
        taken = "" if line.seconds is None else f"{line.seconds:.1f}"
        left = duration(line.left) if line.state == "running" and line.left is not None else ""
        memory = "" if line.memory_mib is None else f"{line.memory_mib:,}"
        words = (
            Text(_one_line(line.step.label)),
            Text(state, COLOURS[line.state]),
            taken,
            left,
            Text(line.device),
            memory,
        )
        shown.add_row(*words)
    return shown


def duration(seconds: float) -> str:
    """Say a time in words, as `40 s`, `12 min`, `3.5 h`, `2.1 days`."""
    for most, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172800, 3600, "h")):
        if seconds < most:
            return f"{seconds / unit:.1f} {name}" if name == "h" else f"{round(seconds / unit)} {name}"
    return f"{seconds / 86400:.1f} days"


def _live(folder: Path, every: float, console: Console) -> None:
    looking = Looking(folder, ())
    went = False
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            looking.steps = steps_in(folder)  # a new run may have others
            standing = looking.look()
            shown = _most_telling(standing.lines, max(4, console.height - AROUND))
            hidden = len(standing.lines) - len(shown)
            rest = [Text(f"and {hidden} more", "dim")] if hidden else []
            live.update(Group(summary(standing), table(shown), *rest), refresh=True)
            went = went or standing.going
            if _ended(standing, went):
                return
            time.sleep(every)


def _most_telling(lines: Sequence[Line], most: int) -> list[Line]:
    """The lines that fit, those that somebody wants to see first; of the done ones the last, in the plan's order."""
    ranked: list[int] = []
    for state in FIRST:
        those = [number for number, line in enumerate(lines) if line.state == state]
        ranked += reversed(those) if state == "done" else those
    waiting = sum(line.state == "waiting" for line in lines)
    kept = ranked[: most - min(3, waiting)]  # a look at what comes next
    kept += [number for number, line in enumerate(lines) if line.state == "waiting" and number not in kept]
    return [lines[number] for number in sorted(kept[:most])]


def _lines(folder: Path, every: float, console: Console) -> None:
    looking = Looking(folder, ())
    before: dict[str, State] = {}
    told, went = "", False
    while True:
        looking.steps = steps_in(folder)  # a new run may have others
        standing = looking.look()
        for line in standing.lines:
            was = before.get(line.step.key)
            before[line.step.key] = line.state
            if was == line.state or (was is None and line.state in {"waiting", "done"}):
                continue
            seconds = f", {line.seconds:.1f} s" if line.state == "done" else ""
            note = f": {line.note}" if line.note else ""
            _say(console, _one_line(f"{line.step.label}: {line.state}{seconds}{note}"))
        counts = ", ".join(f"{standing.count(state)} {state}" for state in STATES)
        if counts != told:
            told = counts
            _say(console, summary(standing).plain)
        went = went or standing.going
        if _ended(standing, went):
            return
        time.sleep(every)


def _one_line(text: str) -> str:
    """Labels and messages hold what data hold: line breaks, letters that turn the line around."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.file.flush()


def _ended(standing: Standing, went: bool) -> bool:
    """Whether nothing more will happen: all is done, or the run that was seen here, or failed here, has ended."""
    if standing.count("done") == len(standing.lines):
        return True
    return not standing.going and (went or standing.count("failed") > 0)
