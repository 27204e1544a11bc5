"""How do the results of a study leave it, for a paper, a spreadsheet or another program?

`parquet` and `csv`: a file for the rows of each analysis, and one for the runs and the tried learning rates. `latex`:
the tables of a paper, to be read in with the command input (they need booktabs). `pdf`: every chart as a figure.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from bequest.report.charts import sweep_charts
from bequest.report.contents import ReportInput
from bequest.report.contrasts import contrasts
from bequest.report.figures import pdf, plain_csv, slug
from bequest.report.headline import headlines
from bequest.report.network import network_charts
from bequest.report.sections import sections
from bequest.report.verdicts import slots
from bequest.report.what_to_do import told
from bequest.report.wording import interval

Kind = Literal["parquet", "csv", "latex", "pdf"]
KINDS: tuple[str, ...] = get_args(Kind)
TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "\u2212": "$-$", "\u2013": "--", "\u221e": r"$\infty$", "\n": " ",
}  # fmt: skip


def export(report: ReportInput, folder: Path, kind: Kind) -> tuple[list[Path], dict[str, str]]:
    """Write the results of a study as files.

    Args:
        report: what the study found.
        folder: where to; made if it is not there, files of the same name are replaced.
        kind: `parquet`, `csv`, `latex` or `pdf`.

    Returns:
        The files, in order, and what could not be written: name of a file -> why.

    Raises:
        ValueError: if there is no such kind, or nothing to export.
    """
    if kind not in KINDS:
        raise ValueError(f"--to {kind}: a study can be exported to {', '.join(KINDS)}")
    writers = {"parquet": _parquet, "csv": _csv, "latex": _latex, "pdf": _figures}
    made: list[Path] = []
    failed: dict[str, str] = {}
    for name, content in writers[kind](report):
        if isinstance(content, Exception):
            failed[name] = f"{type(content).__name__}: {content}"
            continue
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{name}.{os.getpid()}"
        try:
            aside.write_bytes(content)
            aside.replace(folder / name)
        finally:
            aside.unlink(missing_ok=True)
        made.append(folder / name)
    if not made and not failed:
        raise ValueError(f"there is nothing to export to {kind} yet: no analysis has results")
    return made, failed


def _frames(report: ReportInput) -> Iterator[tuple[str, pl.DataFrame]]:
    found = {**report.results, "runs": report.runs, "learning_rates": report.sweep}
    for decision in dict.fromkeys(one.decision for one in report.advices):
        made = [one.rows for one in report.advices if one.decision == decision]
        found[f"decision_{decision}"] = pl.concat(made, how="diagonal_relaxed")
    yield from ((name, rows) for name, rows in found.items() if rows is not None and rows.height)


def _parquet(report: ReportInput) -> Iterator[tuple[str, bytes]]:
    import io

    for name, rows in _frames(report):
        stream = io.BytesIO()
        rows.write_parquet(stream)
        yield f"{name}.parquet", stream.getvalue()


def _csv(report: ReportInput) -> Iterator[tuple[str, bytes]]:
    for name, rows in _frames(report):
        yield f"{name}.csv", plain_csv(rows).encode()


def _figures(report: ReportInput) -> Iterator[tuple[str, bytes | Exception]]:
    charts = network_charts(report.results, report.targets)
    charts += [chart for part in sections(report.results, report.targets) for chart in part.charts]
    charts += [] if report.sweep is None or report.sweep.is_empty() else sweep_charts(report.sweep)
    charts += [one.chart for _, made in told(report.advices, report.targets) for one in made if one.chart.spec]
    used: dict[str, int] = {}
    for chart in charts:
        name = slug(chart.key.removeprefix("chart-").rpartition("-")[0], chart.title)
        used[name] = used.get(name, 0) + 1
        name = f"{name}-{used[name]}" if used[name] > 1 else name
        try:
            yield f"{name}.pdf", pdf(chart.spec) if chart.spec is not None else ValueError(chart.error)
        except ValueError as error:  # one chart must not cost the others
            yield f"{name}.pdf", error


def _latex(report: ReportInput) -> Iterator[tuple[str, bytes]]:
    lines = headlines(report.results, report.targets)
    if lines:
        rows = [
            [line.target, line.finetune, line.randinit, line.difference, line.interval or "--", str(line.n)]
            for line in lines
        ]
        headers = ["target", "finetune", "randinit", "difference (points)", "95 % interval", "pairs"]
        yield "headline.tex", _tabular(headers, rows, "lrrrrr")
    judged = [
        [
            slot.claim if not place else "",
            slot.text if not place else "",
            part.target or "",
            part.status,
            str(part.n),
            interval(part.low, part.high),
        ]
        for slot in slots(report.results, report.failures)
        for place, part in enumerate(slot.parts)
    ]
    if judged:
        headers = ["", "claim", "target", "verdict", "n", "95 % interval"]
        yield "verdicts.tex", _tabular(headers, judged, "lp{6cm}llrr")
    curves = report.results.get("learning_curves")
    split = None if curves is None else contrasts(curves, report.targets)
    if split:
        yield (
            "contrasts.tex",
            _tabular(split.headers, split.rows, "".join("r" if one else "l" for one in split.numeric)),
        )


def _tabular(headers: list[str], rows: list[list[str]], columns: str) -> bytes:
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule"]
    lines += [" & ".join(map(escaped, headers)) + r" \\", "\\midrule"]
    lines += [" & ".join(map(escaped, row)) + r" \\" for row in rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""]).encode()


def escaped(text: str) -> str:
    """Write a text so that LaTeX prints it and runs nothing of it."""
    plain = "".join(TEX.get(letter, letter) for letter in text)
    return re.sub(r"(?<![\w.)])-(?=\d)", "$-$", plain)
