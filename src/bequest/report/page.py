"""How does a study become one file that anybody can open?

`write_report` makes an HTML file that needs no network, no server and no other file.
"""

from __future__ import annotations

import contextlib
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from bequest.report.charts import sweep_charts
from bequest.report.contents import ReportInput
from bequest.report.embedding import policy, script_json, vega_script
from bequest.report.headline import headlines
from bequest.report.pictures import grid, mistake_groups, strips
from bequest.report.sections import sections
from bequest.report.tables import frame_table
from bequest.report.terms import terms
from bequest.report.verdicts import slots
from bequest.report.what_to_do import told
from bequest.report.wording import interval, parted, tally, typeset


def write_report(report: ReportInput, path: str | Path) -> Path:
    """Write a report as one offline HTML file.

    Args:
        report: what it shows.
        path: where to; the file appears whole or not at all.

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
        aside.write_text(render(report), encoding="utf-8", newline="\n")
        aside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return path


def render(report: ReportInput) -> str:
    """Give the HTML of a report.

    Args:
        report: what it shows.

    Returns:
        The page.
    """
    import jinja2

    room = files("bequest.report")
    style, script, template = (
        room.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js", "page.html.j2")
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["typeset"] = typeset
    environment.filters["parted"] = parted
    claims = slots(report.results, report.failures)
    parts = sections(report.results, report.targets)
    sweep = None if report.sweep is None or report.sweep.is_empty() else report.sweep
    swept = [] if sweep is None else sweep_charts(sweep)
    charts = [chart for part in parts for chart in part.charts] + swept
    vega = vega_script() if any(chart.spec for chart in charts) else ""
    shown: dict[str, Any] = {
        "report": report,
        "advices": told(report.advices, report.targets),
        "asked": _yaml(report.asked),
        "slots": claims,
        "tally": tally(claims),
        "terms": [] if report.summary else terms(report.results),
        "interval": interval,
        "headlines": headlines(report.results, report.targets),
        "sections": parts,
        "sweep_charts": swept,
        "sweep": None if sweep is None else frame_table(sweep, "Tried learning rates"),
        "runs": None if report.runs is None or report.runs.is_empty() else frame_table(report.runs, "Runs", most=400),
        "grid": grid(report.pictures),
        "strips": strips(report.shuffled),
        "groups": mistake_groups(report.mistakes),
        "specs": script_json({chart.key: chart.spec for chart in charts if chart.spec}),
        "policy": policy([text for text in (vega, script) if text], [style]),
        "vega": vega,
        "script": script,
        "style": style,
    }
    return environment.from_string(template).render(shown)


def _yaml(asked: Any) -> str:
    if isinstance(asked, str):
        return asked.strip()
    import yaml

    return yaml.safe_dump(dict(asked), sort_keys=False, allow_unicode=True).strip()
