"""How does a comparison of weights alone become a folder with a report?

The folder gets `report.html`, the rows of each analysis as Parquet, the singular values as safetensors, and
`comparison.json`: which files, which modules, and what was left out. It is no study: there is nothing to go
on with, and the same command makes it again.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bequest.models.files import write_weights
from bequest.report.contents import ReportInput
from bequest.report.figures import PDFS
from bequest.report.how_far import how_far
from bequest.report.page import write_report
from bequest.report.tables import number
from bequest.study.provenance import provenance
from bequest.study.store import told, write_whole
from bequest.study.visible import one_line
from bequest.study.weights_alone import Alone, measure_weights


def compare_weights(
    files: Sequence[Path], folder: Path, *, base: Path | None = None, trust_pickle: bool = False
) -> Alone:
    """Compare files of weights without a network, write the report, and print the main numbers.

    Args:
        files: two or more, or one beside a base.
        folder: where results go; made if it is not there.
        base: the weights that all of them started from.
        trust_pickle: run what a pickled file wants to run; the report says that it was allowed.

    Returns:
        What was measured.

    Raises:
        ValueError: if the files cannot be compared, or the folder is that of a study; then nothing is written.
    """
    if (folder / "study.yaml").exists():
        raise ValueError(f"{folder} holds a study, whose report would be lost; name another folder with --folder")
    console, began = Console(emoji=False), time.perf_counter()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("compare weights", total=1.0)
        made = measure_weights(
            files, base=base, trust_pickle=trust_pickle, tell=lambda share: shown.update(task, completed=share)
        )
    seconds = time.perf_counter() - began
    about = _about(files, base, trust_pickle, made, provenance("cpu", seconds))
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, result in made.results.items():
            aside = folder / f".{name}.{os.getpid()}"
            result.rows.write_parquet(aside)
            aside.replace(folder / f"{name}.parquet")
            if result.arrays:
                write_weights(result.arrays, folder / f"{name}.safetensors")
        write_whole(folder / "comparison.json", json.dumps(about, indent=1))
        write_report(_contents(files, base, folder, made, about), folder / "report.html", pdfs=PDFS)
    _print(console, made)
    console.print(one_line(f"report: {folder / 'report.html'}"), markup=False, highlight=False, soft_wrap=True)
    return made


def _about(
    files: Sequence[Path], base: Path | None, trust_pickle: bool, made: Alone, run: dict[str, object]
) -> dict[str, object]:
    named = dict(zip(made.members, [*([base] if base else []), *files], strict=True))
    return {
        "files": {name: str(path.resolve()) for name, path in named.items()},
        "base": str(base.resolve()) if base else None,
        "trust_pickle": trust_pickle,
        "modules": list(made.modules),
        "left_out": [list(pair) for pair in made.left_out],
        "bytes": made.read,
        "provenance": run,
    }


def _contents(
    files: Sequence[Path], base: Path | None, folder: Path, made: Alone, about: dict[str, object]
) -> ReportInput:
    run = about["provenance"]
    assert isinstance(run, dict)
    done = {"tensors read": f"{made.read / 1e9:.3g} GB", "seconds": f"{run['seconds']:.1f}"}
    done |= {"peak memory": f"{run['peak_memory_mib']} MiB", "finished": str(run["finished"])}
    if about["trust_pickle"]:
        done["pickled code"] = "was allowed to run (--trust-pickle)"
    shown = [path.name for path in files]
    told_of = " and ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
    summary = f"{how_far(made.results['distance'].rows, made.results['changes'].rows)} " + (
        "Weights alone: no network was run and no data were seen, so nothing here says what the models can do. The "
        "modules and their order are read from the names of the tensors."
    )
    summary += " In tables and charts P stands for the base." if base else ""
    words = ["bequest", "compare", *map(str, files), *(["--base", str(base)] if base else [])]
    words += ["--trust-pickle"] if about["trust_pickle"] else []
    return ReportInput(
        title=f"How alike are the weights of {told_of}?"[:200],
        results={name: result.rows for name, result in made.results.items()},
        asked={key: about[key] for key in ("files", "base", "trust_pickle", "modules")},
        done=done,
        repeat=(shlex.join([*words, "--folder", str(folder)]),),
        left_out=made.left_out,
        summary=summary,
    )


def _print(console: Console, made: Alone) -> None:
    """The main numbers of each pair; the rest is in the report."""
    columns = ("l2", "l2_relative", "cosine", "unchanged", "sign_agreement")
    whole = pl.concat([made.results[name].rows.filter(module="*") for name in ("distance", "changes")], how="diagonal")
    answer = one_line(how_far(made.results["distance"].rows, made.results["changes"].rows), 1000)
    console.print(answer, markup=False, highlight=False, soft_wrap=True)
    table = Table("a", "b", *(name.replace("_", " ") for name in columns), box=None)
    for (a, b), part in whole.drop_nulls("b").group_by("a", "b", maintain_order=True):
        values = dict(part.select("metric", "value").iter_rows())
        shown = [name.partition("/")[2] or name for name in (str(a), str(b))]
        table.add_row(*shown, *(number(values.get(name)) for name in columns))
    console.print(table)
    for what, why in made.left_out:
        console.print(one_line(f"left out: {what}: {why}"), markup=False, highlight=False, soft_wrap=True)
