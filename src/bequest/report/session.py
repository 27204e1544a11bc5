"""How is a study carried out from its file to its report, and looked at afterwards?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bequest.report.gathering import failures, gather, results
from bequest.report.headline import headlines
from bequest.report.page import write_report
from bequest.report.verdicts import slots
from bequest.study.engines.local import run
from bequest.study.functions import FUNCTIONS
from bequest.study.plan import Plan, plan
from bequest.study.planned import write_plan
from bequest.study.progress import progress
from bequest.study.pulse import pulse
from bequest.study.reading import dump, read_study
from bequest.study.spec import Study
from bequest.study.step import Context, Function, Step
from bequest.study.store import Artefact, Store, told, write_whole
from bequest.training.event_files import kinds

REPORT_VERSION = 3  # raised when the page changes, so that old reports are written again


def carry_out(study: Study, folder: Path, device: str, workers: int) -> int:
    """Carry out a study and write its report.

    Args:
        study: what is asked.
        folder: where results go; gets `study.yaml`, the store and `report.html`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        workers: threads that read and draw images.

    Returns:
        The number of steps that failed or were left out.
    """
    console = Console(emoji=False)
    context = Context(device=device_named(device), workers=workers, events=_events(study, folder))
    made = plan(study)  # before anything is written: bad input leaves nothing behind
    store = Store(folder)
    last = _report_step(made)
    steps = made.steps(last)
    with store.only_driver(), pulse(folder, context.device, lambda share: None):
        write_whole(folder / "study.yaml", dump(study))
        write_plan(folder, study.name, steps)
        functions = FUNCTIONS | {"report": Function(_writer(made, store), REPORT_VERSION, tolerant=("",))}
        to_do = [step for step in steps if not store.has(step)]
        with progress(console, to_do) as watcher:
            outcome = run(steps, functions, store, context, watcher)
        if store.has(last):
            _put_in_place(store.open(last), folder)
        else:  # an older page must not pass for the report of this run
            (folder / "report.html").unlink(missing_ok=True)
    for label, message in outcome.failed.items():
        console.print(f"failed: {label}: {message}", markup=False, soft_wrap=True)
    seconds = sum(outcome.done.values())
    console.print(
        f"{len(outcome.done)} steps done in {seconds:.0f} s, {len(outcome.there)} were there, "
        f"{len(outcome.failed)} failed, {len(outcome.left_out)} left out",
        highlight=False,
    )
    if store.has(last):
        console.print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
    return len(outcome.failed) + len(outcome.left_out)


def steps_of(place: Path) -> list[Step]:
    """Plan the study in a folder again and give its steps, the report's included."""
    made, _ = _open(place)
    return made.steps(_report_step(made))


def whole_plan(study: Study) -> tuple[Plan, list[Step]]:
    """Give the plan of a study and all its steps, the report's included; nothing is written."""
    made = plan(study)
    return made, made.steps(_report_step(made))


def print_results(place: Path) -> None:
    """Print the headline numbers of each target and the verdict on each claim."""
    made, store = _open(place)
    console, found = Console(emoji=False), results(made, store)
    numbers = Table("target", "finetune", "randinit", "difference (points)", "95 % interval", "pairs", box=None)
    for line in headlines(found, list(made.study.targets)):
        shown = (line.target, line.finetune, line.randinit, line.difference, line.interval, str(line.n))
        numbers.add_row(*shown)
    console.print("mean error after the last epoch, on test", highlight=False)
    console.print(numbers)
    for slot in slots(found, failures(made, store)):
        heading = Text.assemble("\n", (f"{slot.claim:<4}", "bold"), (slot.word, "bold"), f"  {slot.text}")
        console.print(heading)
        why = [f"{part.target}: {part.sentence}" if part.target else part.sentence for part in slot.parts]
        for sentence in why or [slot.note]:
            console.print(Padding(Text(sentence), (0, 0, 0, 4)))


def write_again(place: Path) -> None:
    """Write the report of a study from what is there, complete or not."""
    made, store = _open(place)
    with told(store.root):
        write_report(gather(made, store), store.root / "report.html")
    Console(emoji=False).print(f"report: {store.root / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


def _open(place: Path) -> tuple[Plan, Store]:
    if not (place / "study.yaml").is_file():
        raise FileNotFoundError(
            f"{place}: no study here; name the folder that `bequest run` wrote, as in studies/emoji"
        )
    return plan(read_study(place / "study.yaml")), Store(place)


def _report_step(made: Plan) -> Step:
    inputs: dict[str, Step] = {f"measured/{a}/{t}": step for (a, t), step in made.measured.items()}
    inputs |= {f"run/{target}/{name}": step for target, runs in made.runs.items() for name, step in runs.items()}
    inputs |= {f"run/{target}/{cell.name}": cell.step for target, cells in made.further.items() for cell in cells}
    inputs |= {f"choice/{target}/{arm}": step for (target, arm), step in made.choices.items()}
    inputs |= {f"domain/{door}": step for door, step in made.domains.items()}
    inputs |= {"pretrained": made.pretrained} if made.pretrained else {}
    arguments = {"study": made.study.model_dump(mode="json", exclude={"tensorboard"})}
    return Step("report", REPORT_VERSION, arguments, inputs, label="write the report", tolerant=("",))


def _writer(made: Plan, store: Store) -> Any:
    def write(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
        write_report(gather(made, store), folder / "report.html")

    return write


def _put_in_place(artefact: Artefact, folder: Path) -> None:
    text = (artefact.folder / "report.html").read_text(encoding="utf-8")
    place = folder / "report.html"
    if not place.is_file() or place.read_text(encoding="utf-8") != text:
        write_whole(place, text)


def _events(study: Study, folder: Path) -> Path | None:
    """Where event files go, if they are asked for and can be written."""
    if not study.tensorboard:
        return None
    kinds()
    return folder / "tensorboard"


def device_named(asked: str) -> str:
    """Give the device that `auto`, `cpu`, `cuda` or `cuda:1` stands for; ValueError if this machine has none."""
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {asked}: {reason}; use auto, cpu or cuda") from None
    return asked
