"""How does a study become one file that anybody can open?

`write_report` makes an HTML file that needs no network, no server and no other file.
"""

from __future__ import annotations

import contextlib
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from bequest.report.answer import answers
from bequest.report.charts import Chart, sweep_charts
from bequest.report.contents import ReportInput
from bequest.report.embedding import policy, script_json, squeezed
from bequest.report.figures import downloads
from bequest.report.headline import headlines
from bequest.report.network import HOW, network_charts
from bequest.report.pictures import grid, strips
from bequest.report.predictions import page_data
from bequest.report.sections import sections
from bequest.report.tables import Table, frame_table, result_table
from bequest.report.terms import terms
from bequest.report.vega import vega_script
from bequest.report.verdicts import slots
from bequest.report.what_to_do import told
from bequest.report.wording import interval, parted, tally, typeset
from bequest.study.visible import visible, visible_values

SCRIPTS = ("page.js", "saving.js", "examples.js")  # one script element, in this order
MOST_BEHIND, LEAST_BEHIND = 100, 15  # rows of the table behind a chart; the download has all
ALL_BEHIND = 4000  # rows of all these tables, if there are many charts


def write_report(report: ReportInput, path: str | Path, *, pdfs: bool = False) -> Path:
    """Write a report as one offline HTML file.

    Args:
        report: what it shows.
        path: where to; the file appears whole or not at all.
        pdfs: whether the page carries its charts as PDF too, a fifth of a second each.

    Returns:
        The path.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write the report {path}: the folder {path.parent} does not exist")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(render(report, pdfs=pdfs), encoding="utf-8", newline="\n")
        aside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return path


def render(report: ReportInput, *, pdfs: bool = False) -> str:
    """Give the HTML of a report.

    Args:
        report: what it shows.
        pdfs: see `write_report`.

    Returns:
        The page.
    """
    import jinja2

    room = files("bequest.report")
    style, template = (room.joinpath(name).read_text("utf-8") for name in ("page.css", "page.html.j2"))
    script = "\n".join(room.joinpath(name).read_text("utf-8") for name in SCRIPTS)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.filters["typeset"] = typeset
    environment.filters["parted"] = parted
    claims = slots(report.results, report.failures)
    parts = sections(report.results, report.targets)
    sweep = None if report.sweep is None or report.sweep.is_empty() else report.sweep
    swept = [] if sweep is None else sweep_charts(sweep)
    network = network_charts(report.results, report.targets)
    charts = network + [chart for part in parts for chart in part.charts] + swept
    decided = told(report.advices, report.targets)
    advised = [one.chart for _, made in decided for one in made]
    saved, dropped = downloads([*charts, *advised], pdfs)
    charts += [chart for chart in advised if chart.spec or chart.error]
    vega = vega_script() if any(chart.spec for chart in charts) else ""
    contents = [(part.key, part.title) for part in parts]
    contents = [("network", "Where in the network")] * bool(network) + contents
    for key, title, there in (
        ("examples", "Test examples", bool(report.predictions)),
        ("sweep", "Learning rates", sweep is not None),
        ("domains", "Domains", bool(report.pictures)),
        ("runs", "Runs", report.runs is not None and not report.runs.is_empty()),
        ("repeat", "What was done", True),
    ):
        contents += [(key, title)] * there
    shown: dict[str, Any] = {
        "report": report,
        "decided": decided,
        "asked": _yaml(report.asked),
        "slots": claims,
        "tally": tally(claims),
        "terms": [] if report.summary else terms(report.results),
        "interval": interval,
        "headlines": headlines(report.results, report.targets),
        "answers": answers(report, claims),
        "network": network,
        "network_how": HOW,
        "full": [chart.key for chart in network],
        "active": [chart.key for chart in charts if chart.key.startswith("chart-mistakes-") and report.predictions],
        "tables": {chart.key: _behind(chart, len(charts)) for chart in charts},
        "files": saved,
        "file_json": script_json(saved),
        "dropped": dropped,
        "predictions": script_json(visible_values(page_data(report.predictions))) if report.predictions else "",
        "contents": contents,
        "ids": {"verdicts", "advices", *(key for key, _ in contents)},
        "sections": parts,
        "sweep_charts": swept,
        "sweep": sweep is not None,
        "runs": None
        if report.runs is None or report.runs.is_empty()
        else frame_table(report.runs, "All runs, one a row", most=400),
        "grid": grid(report.pictures),
        "strips": strips(report.shuffled),
        "specs": script_json(
            {chart.key: squeezed(script_json(visible_values(chart.spec)).encode()) for chart in charts if chart.spec}
        ),
        "policy": policy([text for text in (vega, script) if text], [style]),
        "vega": vega,
        "script": script,
        "style": style,
    }
    return environment.from_string(template).render(shown)


def _shown(value: Any) -> Any:
    """What a place of the template gets: text of data has its harmful characters as numbers, markup is ours."""
    return visible(value) if type(value) is str else value


def _behind(chart: Chart, charts: int) -> Table | None:
    """The rows of a chart as a table."""
    most = min(MOST_BEHIND, max(LEAST_BEHIND, ALL_BEHIND // charts))
    if chart.rows is None or chart.rows.is_empty():
        return None
    caption = f"{chart.description.partition('. ')[0]}: rows"
    if "metric" in chart.rows.columns:
        return result_table(chart.rows, caption, most=most)
    return frame_table(chart.rows, caption, most=most)


def _yaml(asked: Any) -> str:
    if isinstance(asked, str):
        return asked.strip()
    import yaml

    return yaml.safe_dump(dict(asked), sort_keys=False, allow_unicode=True).strip()
