"""What can be asked from the command line?

`bequest demo` and `bequest run` carry out a study, `compare` one of checkpoints that are there already; `plan` says
before what a study takes; `status`, `show`, `report` and `export` look at one; `clean` removes what none needs any
more. Heavy libraries are imported inside the commands, so that `bequest --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

# Threads that spin while they wait make training ten times slower as soon as another program wants a core. Read by
# OpenMP when torch is loaded, so it has to be said before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    help="What did pre-training bequeath to your model? Train, measure, judge and report what was transferred.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Changes = Annotated[
    list[str] | None, typer.Argument(help="Changes to the study, as key.path=value: arms.replicas=5 barrier.points=21")
]
Folder = Annotated[Path | None, typer.Option(help="Where results go; studies/NAME if left out.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1")]
Workers = Annotated[int, typer.Option(min=1, help="Threads that read and draw images.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Place = Annotated[Path, typer.Argument(help="The folder of a study, as in studies/emoji.")]


@app.command()
def demo(
    changes: Changes = None,
    folder: Folder = None,
    device: Device = "auto",
    workers: Workers = 2,
    debug: Debug = False,
) -> None:
    """Run the study that comes with Bequest: emoji drawn by different hands, about ten minutes on two cores."""
    run(_examples() / "emoji.yaml", changes, folder, device, workers, debug)


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="A study file (YAML).")],
    changes: Changes = None,
    folder: Folder = None,
    device: Device = "auto",
    workers: Workers = 2,
    debug: Debug = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local: this process, step after step. ray: many at once, here or on a cluster."),
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster, as in auto or 10.0.0.1:6379; left out, Ray is started here.")
    ] = None,
) -> None:
    """Carry out a study: train, measure, judge, report. What is there already is not done again."""
    with _plainly(debug):
        from bequest.study.reading import read_study

        asked = read_study(study, changes or [])  # before torch is loaded: a wrong key is told at once

        from bequest.report.session import carry_out

        failed = carry_out(asked, folder or Path("studies") / asked.name, device, workers, engine, address)
    if failed:
        raise typer.Exit(1)


@app.command()
def compare(
    files: Annotated[list[Path], typer.Argument(help="Files of weights of one network, trained already.")],
    model: Annotated[
        str | None, typer.Option(help="The network: resnet50, timm:NAME, hf:DIR, package.module:function, …")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="The images to measure on: folder:DIR, csv:FILE, … Left out with --model: weights alone."),
    ] = None,
    base: Annotated[Path | None, typer.Option(help="The weights that all of them started from.")] = None,
    calibration: Annotated[str | None, typer.Option(help="Images to refit BatchNorm on, as --data.")] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Images are size x size pixels.")] = None,
    change: Annotated[list[str] | None, typer.Option(help="A change, as barrier.points=11; may be repeated.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where results go; if left out studies/ and the names of the files.")
    ] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Run what pickled files want to run. Only for files that you made.")
    ] = False,
    device: Device = "auto",
    workers: Workers = 2,
    debug: Debug = False,
) -> None:
    """Compare checkpoints that are there already: mistakes, features, distances, barriers, basins, modules."""
    with _plainly(debug):
        if model is None or data is None:  # before torch is loaded
            _refuse_half(model, data, {"--calibration": calibration, "--size": size, "--change": change})

        from bequest.study.comparing import comparison, folder_of

        place = folder or Path("studies") / folder_of(files, base, model, data)
        if model is None or data is None:
            from bequest.report.alone import compare_weights

            compare_weights(files, place, base=base, trust_pickle=trust_pickle)
            failed = 0
        else:
            options = {"base": base, "calibration": calibration, "size": size, "changes": change or []}
            options |= {"trust_pickle": trust_pickle, "name": place.name}
            asked = comparison(files, model=model, data=data, **options)  # type: ignore[arg-type] # of one dict

            if size is None and not data.startswith(("text:", "emoji:names")):
                about = "--size N if the weights were trained on others"
                print(f"images of {asked.size} x {asked.size} pixels ({about})", file=sys.stderr)

            from bequest.report.session import carry_out

            failed = carry_out(asked, place, device, workers)
    if failed:
        raise typer.Exit(1)


@app.command()
def status(
    place: Place,
    watching: Annotated[bool, typer.Option("--watch", help="Go on until the run ends, or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    debug: Debug = False,
) -> None:
    """Show how far a study is, from its folder alone: also while it runs, from another terminal or machine."""
    with _plainly(debug):
        from bequest.report.status import print_standing, watch

        if watching:
            watch(place, every)
        else:
            print_standing(place)


@app.command()
def clean(
    folder: Annotated[Path, typer.Argument(help="The folder of a study, or of several.")] = Path("studies"),
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")] = False,
    debug: Debug = False,
) -> None:
    """Remove the results that no study in the folder refers to, after showing what and how much."""
    with _plainly(debug):
        from bequest.report.cleaning import clean_up

        agreed = None if dry_run else (lambda text: True) if yes else typer.confirm
        clean_up(folder, agreed)


@app.command("plan")
def plan_(
    study: Annotated[Path, typer.Argument(help="A study file (YAML).")],
    changes: Changes = None,
    folder: Folder = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="How many devices would work at a time.")] = 1,
    calibrate: Annotated[bool, typer.Option(help="Time the network for a few seconds, to estimate hours.")] = True,
    debug: Debug = False,
) -> None:
    """Say what a study would take before anything runs: steps, trainings, images, bytes, hours."""
    with _plainly(debug):
        from bequest.study.reading import read_study

        asked = read_study(study, changes or [])

        from bequest.report.estimate import print_estimate

        print_estimate(asked, folder or Path("studies") / asked.name, device, devices=devices, calibrate=calibrate)


@app.command()
def show(place: Place, debug: Debug = False) -> None:
    """Print the verdicts and the headline numbers of a study."""
    with _plainly(debug, quiet=True):
        from bequest.report.showing import print_results

        print_results(place)


@app.command()
def report(
    place: Place,
    other: Annotated[Path | None, typer.Argument(help="The folder of another study, to see both side by side.")] = None,
    debug: Debug = False,
) -> None:
    """Write the report of a study again from what was measured, complete or not; of two, one report of both."""
    with _plainly(debug, quiet=True):
        from bequest.report.session import write_again, write_beside

        if other is None:
            write_again(place)
        else:
            write_beside(place, other)


@app.command()
def export(
    place: Place,
    to: Annotated[str, typer.Option(help="parquet, csv, latex or pdf")],
    folder: Annotated[Path | None, typer.Option(help="Where the files go; DIR/export/TO if left out.")] = None,
    debug: Debug = False,
) -> None:
    """Write the results of a study as files: rows (parquet, csv), tables (latex) or every figure (pdf)."""
    with _plainly(debug, quiet=True):
        from bequest.report.session import export_results

        failed = export_results(place, to, folder)
    if failed:
        raise typer.Exit(1)


def _refuse_half(model: str | None, data: str | None, others: dict[str, object]) -> None:
    """Refuse a comparison of weights alone that has half of a network with data."""
    if model is not None or data is not None:
        lacking = "--model" if model is None else "--data"
        raise ValueError(f"{lacking} is missing; give both --model and --data, or neither to compare weights alone")
    if wrong := next((name for name, value in others.items() if value), None):
        raise ValueError(f"{wrong} needs a network and data: add --model and --data")


@contextmanager
def _plainly(debug: bool, *, quiet: bool = False) -> Iterator[None]:
    """Turn an error into one message and exit code 2, unless --debug lets it through; quiet: without warnings."""
    from bequest.report.notices import held

    try:
        with held(quiet=quiet):
            yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        print("interrupted; what is done is kept, the same command goes on from there", file=sys.stderr)
        raise typer.Exit(130) from None
    except (ValueError, LookupError, OSError, ImportError, RuntimeError) as error:
        if debug:
            raise
        from bequest.study.visible import one_line

        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"bequest: {one_line(message)}", file=sys.stderr)
        raise typer.Exit(2) from None
    except Exception as error:
        if debug:
            raise
        from bequest.study.visible import one_line

        print(f"bequest: {type(error).__name__}: {one_line(error)}; --debug shows where it happened", file=sys.stderr)
        raise typer.Exit(70) from None  # not the input, as far as we know: a mistake in Bequest


def _examples() -> Path:
    packaged = Path(__file__).parent / "examples"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "examples"


def main() -> None:
    """Run the command line."""
    app()
