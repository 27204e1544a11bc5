"""How are the rows of the benchmarks printed: for a terminal, or as the table of the README?"""

from __future__ import annotations

from collections.abc import Sequence

from race import Row

HEAD = ("job", "size", "ours", "peer", "its", "ratio", "target", "met", "floor", "ours over floor")


def show(rows: Sequence[Row]) -> None:
    """Print a table and, below it, the notes."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEAD)
    for row in rows:
        table.add_row(*_cells(row), style=None if row.met else "yellow")
    console = Console()
    console.width = max(console.width, 150)  # also where the output goes into a file
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"{row.job}, {row.what}, {row.peer}: {row.note}", markup=False, highlight=False)


def markdown(rows: Sequence[Row], machine: dict[str, object]) -> str:
    """Give the table and the notes as Markdown, for README.md."""
    lines = [f"{', '.join(f'{key} {value}' for key, value in machine.items())}.", ""]
    lines += [_line(HEAD), _line(["---"] * len(HEAD))]
    notes = []
    for row in rows:
        cells = _cells(row)
        if row.note:
            notes.append(row.note)
            cells[0] += f" [{len(notes)}]"
        lines.append(_line([cell.replace("|", "\\|") for cell in cells]))
    lines += ["", *(f"[{number}] {note.rstrip('.')}.  " for number, note in enumerate(notes, 1))]
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> list[str]:
    met = {True: "yes", False: "no", None: ""}[row.met]
    floor = f"{row.floor}: {_seconds(row.floor_s)}" if row.floor and row.floor != row.peer else row.floor
    return [
        row.job,
        row.what,
        _seconds(row.ours_s),
        row.peer,
        _seconds(row.peer_s),
        "" if row.ratio is None else f"{row.ratio:.3g}",
        row.target,
        met,
        floor,
        "" if row.above_floor is None else f"{row.above_floor:.3g}",
    ]


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"
