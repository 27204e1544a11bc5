"""How is a study carried out from its file to its report, and looked at afterwards?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from rich.console import Console

from bequest.report.beside import beside
from bequest.report.export import KINDS, Kind, export
from bequest.report.figures import PDFS
from bequest.report.gathering import READ, gather
from bequest.report.notices import tell
from bequest.report.page import write_report
from bequest.study.engines.local import run
from bequest.study.functions import FUNCTIONS
from bequest.study.functions.together import check_devices
from bequest.study.plan import Plan, plan
from bequest.study.planned import write_plan
from bequest.study.progress import progress
from bequest.study.pulse import pulse
from bequest.study.reading import dump, read_study
from bequest.study.spec import Study
from bequest.study.step import Context, Function, Step
from bequest.study.store import Artefact, Store, told, write_whole
from bequest.study.visible import one_line
from bequest.training.event_files import kinds

Engine = Literal["local", "ray"]
REPORT_VERSION = 5  # raised when the page changes, so that old reports are written again


def carry_out(
    study: Study, folder: Path, device: str, workers: int, engine: Engine = "local", address: str | None = None
) -> int:
    """Carry out a study and write its report.

    Args:
        study: what is asked.
        folder: where results go; gets `study.yaml`, the store and `report.html`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        workers: threads that read and draw images.
        engine: who carries out the steps: this process, or Ray.
        address: of a Ray cluster; None starts Ray on this machine.

    Returns:
        The number of steps that failed or were left out.

    Raises:
        ValueError: if an address is given to the local engine.
    """
    if address is not None and engine != "ray":
        raise ValueError("--address names a Ray cluster; add --engine ray")
    console = Console(emoji=False)
    named = device if engine == "ray" else device_named(device)  # Ray gives a step its device
    folder = folder.absolute() if engine == "ray" else folder  # other processes run elsewhere
    devices = study.resources.training.devices
    if engine == "local":
        check_devices(named, devices)
    context = Context(device=named, workers=workers, events=_events(study, folder), devices=devices)
    made = plan(study)  # before anything is written: bad input leaves nothing behind
    tell()
    store = Store(folder)
    last = _report_step(made)
    steps = made.steps(last)
    with store.only_driver(), pulse(folder, context.device, lambda share: None):
        write_whole(folder / "study.yaml", dump(study))
        write_plan(folder, study.name, steps)
        functions = FUNCTIONS | {"report": Function(_writer(made, store), REPORT_VERSION, tolerant=("",), kind="rest")}
        _discard_damaged(made, last, store, console)
        to_do = [step for step in steps if not store.has(step)]
        with progress(console, to_do) as watcher:
            if engine == "ray":
                from bequest.study.engines import ray

                outcome = ray.run(steps, functions, store, context, watcher, study.resources, address)
            else:
                outcome = run(steps, functions, store, context, watcher)
        if store.has(last):
            _put_in_place(store.open(last), folder)
        else:  # an older page must not pass for the report of this run
            (folder / "report.html").unlink(missing_ok=True)
    for label, message in outcome.failed.items():
        console.print(f"failed: {one_line(label)}: {one_line(message)}", markup=False, soft_wrap=True)
    seconds = sum(outcome.done.values())
    console.print(
        f"{len(outcome.done)} steps done in {seconds:.0f} s, {len(outcome.there)} were there, "
        f"{len(outcome.failed)} failed, {len(outcome.left_out)} left out",
        highlight=False,
    )
    if store.has(last):
        console.print(one_line(f"report: {folder / 'report.html'}"), markup=False, highlight=False, soft_wrap=True)
    return len(outcome.failed) + len(outcome.left_out)


def steps_of(place: Path) -> list[Step]:
    """Plan the study in a folder again and give its steps, the report's included."""
    made, _ = open_study(place)
    return made.steps(_report_step(made))


def whole_plan(study: Study) -> tuple[Plan, list[Step]]:
    """Give the plan of a study and all its steps, the report's included; nothing is written."""
    made = plan(study)
    return made, made.steps(_report_step(made))


def write_again(place: Path) -> None:
    """Write the report of a study from what is there, complete or not."""
    made, store = open_study(place)
    with told(store.root):
        write_report(gather(made, store), store.root / "report.html", pdfs=PDFS)
    said = one_line(f"report: {store.root / 'report.html'}")
    Console(emoji=False).print(said, markup=False, highlight=False, soft_wrap=True)


def write_beside(place: Path, other: Path) -> None:
    """Write one report of two studies, target beside target, into the folder of the first."""
    (made, store), (second, beside_store) = open_study(place), open_study(other)
    path = store.root / f"beside-{other.resolve().name}.html"
    names = (place.resolve().name, other.resolve().name)
    both = beside(gather(made, store), gather(second, beside_store), names)
    with told(store.root):
        write_report(both, path, pdfs=PDFS)
    Console(emoji=False).print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)


def export_results(place: Path, to: str, folder: Path | None) -> int:
    """Write the results of a study as files and print their names.

    Args:
        place: folder of the study.
        to: `parquet`, `csv`, `latex` or `pdf`.
        folder: where the files go; `export/TO` within the study's if None.

    Returns:
        The number of files that could not be made.

    Raises:
        ValueError: if there is no such kind, or nothing to export.
    """
    if to not in KINDS:
        raise ValueError(f"--to {to}: a study can be exported to {', '.join(KINDS)}")
    made, store = open_study(place)
    console, target = Console(emoji=False), folder or place / "export" / to
    with told(target):
        written, failed = export(gather(made, store), target, cast(Kind, to))
    for name, why in failed.items():
        console.print(f"failed: {name}: {why}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(written)} files in {target}", markup=False, highlight=False, soft_wrap=True)
    return len(failed)


def open_study(place: Path) -> tuple[Plan, Store]:
    """Plan the study in a folder again, and open its store to look at."""
    if not (place / "study.yaml").is_file():
        if (place / "comparison.json").is_file():
            raise FileNotFoundError(f"{place}: a comparison of weights alone, no study: see {place / 'report.html'}")
        raise FileNotFoundError(
            f"{place}: no study here; name the folder that `bequest run` wrote, as in studies/emoji"
        )
    return plan(read_study(place / "study.yaml")), Store(place, look=True)


def _report_step(made: Plan) -> Step:
    inputs: dict[str, Step] = {f"measured/{a}/{t}": step for (a, t), step in made.measured.items()}
    inputs |= {f"run/{target}/{name}": step for target, runs in made.runs.items() for name, step in runs.items()}
    inputs |= {f"run/{target}/{cell.name}": cell.step for target, cells in made.further.items() for cell in cells}
    inputs |= {f"choice/{target}/{arm}": step for (target, arm), step in made.choices.items()}
    inputs |= {f"domain/{door}": step for door, step in made.domains.items()}
    inputs |= {f"decided/{decision}/{target}": step for (decision, target), step in made.decided.items()}
    inputs |= {"pretrained": made.pretrained} if made.pretrained else {}
    arguments = {"study": made.study.model_dump(mode="json", exclude={"tensorboard", "resources"})}
    return Step("report", REPORT_VERSION, arguments, inputs, label="write the report", tolerant=("",))


def _discard_damaged(made: Plan, last: Step, store: Store, console: Console) -> None:
    """Find the damage that no step finds: of the report, and, if it is to be written, of all that it reads."""
    for step in (last, *made.steps()):
        if damage := store.damage(step, quickly=step is not last, read=READ):
            said = one_line(f"{damage}; {step.label} is done again")
            console.print(said, markup=False, highlight=False, soft_wrap=True)
            store.discard(step)
        elif step is last and store.has(last) and store.open(last).json("provenance").get("inputs_that_failed"):
            store.discard(last)  # it names the failures of an earlier run; those of this one may be others
        if store.has(last):
            break


def _writer(made: Plan, store: Store) -> Any:
    def write(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
        write_report(gather(made, store), folder / "report.html", pdfs=PDFS)

    return write


def _put_in_place(artefact: Artefact, folder: Path) -> None:
    text = (artefact.folder / "report.html").read_text(encoding="utf-8")
    place = folder / "report.html"
    if not place.is_file() or place.read_bytes() != text.encode():
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
