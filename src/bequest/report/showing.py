"""What does a study say, in the terminal?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bequest.report.answer import answers
from bequest.report.contents import ReportInput
from bequest.report.gathering import gather_numbers
from bequest.report.headline import headlines
from bequest.report.session import open_study
from bequest.report.verdicts import Slot, slots
from bequest.study.visible import visible


def print_results(place: Path) -> None:
    """Print the headline numbers of each target and the verdict on each claim."""
    made, store = open_study(place)
    console, report = Console(emoji=False), gather_numbers(made, store)
    filled = slots(report.results, report.failures)
    if report.summary:  # files: what is asked of them first, and of the claims about arms those that were judged
        _print_answers(report, filled, console)
        filled = tuple(slot for slot in filled if slot.parts)
    else:
        _print_numbers(report, console)
    for one in report.advices:
        heading = Text.assemble("\n", (f"{one.decision} ", "bold"), (one.sure, "bold"), f"  {one.target}")
        console.print(heading)
        console.print(Padding(Text(visible(one.sentence)), (0, 0, 0, 4)))
    for slot in filled:
        heading = Text.assemble("\n", (f"{slot.claim:<4}", "bold"), (slot.word, "bold"), f"  {slot.text}")
        console.print(heading)
        why = [f"{part.target}: {part.sentence}" if part.target else part.sentence for part in slot.parts]
        for sentence in why or [slot.note]:
            console.print(Padding(Text(visible(sentence)), (0, 0, 0, 4)))


def _print_answers(report: ReportInput, filled: Sequence[Slot], console: Console) -> None:
    console.print(Text(visible(report.title), "bold"))
    console.print(Text(visible(report.summary)))
    for answer in answers(report, filled):
        console.print(Text(f"\n{answer.question}", "bold"))
        for about, line in answer.lines:
            console.print(Padding(Text(visible(f"{about}: {line}" if about else line)), (0, 0, 0, 4)))


def _print_numbers(report: ReportInput, console: Console) -> None:
    numbers = Table("target", "finetune", "randinit", "difference (points)", "95 % interval", "pairs", box=None)
    for line in headlines(report.results, report.targets):
        shown = (line.target, line.finetune, line.randinit, line.difference, line.interval, str(line.n))
        numbers.add_row(*shown)
    console.print("mean error after the last epoch, on test", highlight=False)
    console.print(numbers)
