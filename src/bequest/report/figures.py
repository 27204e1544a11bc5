"""How does a chart become a figure for a paper, and a download of the page?

Figures are drawn on white in plain colours, whatever the scheme of the page that they come from. The page carries the
rows of each chart as compressed CSV and, as a browser cannot make one, the figure as PDF.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from bequest.report.charts import Chart
from bequest.report.embedding import script_json, squeezed

PDFS = os.environ.get("BEQUEST_PDFS") != "0"  # whether reports carry their charts as PDF; tests write many reports
MOST_BYTES = 4_000_000  # of a page's downloads, as they stand in it; those of the largest charts are left out
FONT = "Helvetica, Arial, sans-serif"
INK, SOFT, LINE = "#1f2328", "#4b5158", "#dddad5"
WIDTH = 480  # pixels of a figure that takes the width of its box


def paper(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Give a specification the looks of a figure: on white, with a width of its own.

    Args:
        spec: Vega-Lite, as the page has it.

    Returns:
        A new one.
    """
    text = {
        "labelColor": SOFT,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    }
    looks = {
        "background": "white",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {**text, "gridColor": LINE, "domainColor": SOFT, "tickColor": SOFT, "labelLimit": 140},
        "header": {**text, "labelFontSize": 12},
        "title": {"color": INK, "fontSize": 12, "fontWeight": "normal", "anchor": "start"},
        "legend": {**text, "orient": "bottom", "columns": 3, "labelLimit": 220, "symbolOpacity": 1},
        "text": {"color": INK},
        "rule": {"color": SOFT},
        "line": {"strokeWidth": 2},
    }
    made = {**spec, "config": looks, "padding": 6}
    if made.get("width") == "container":
        made["width"] = WIDTH
    return made


def pdf(spec: Mapping[str, Any]) -> bytes:
    """Draw a chart as a PDF with text that can be searched.

    Args:
        spec: Vega-Lite.

    Returns:
        The file.
    """
    import vl_convert

    made: bytes = vl_convert.vegalite_to_pdf(script_json(paper(spec)))
    return made


def slug(*parts: str | None) -> str:
    """Give a name for a file: lower case, letters, digits and hyphens, at most 80 of them."""
    text = "-".join(part for part in parts if part)
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80] or "chart"


def plain_csv(rows: pl.DataFrame) -> str:
    """Write rows as CSV, without the columns that are empty; a list becomes its items with spaces between."""
    kept = [name for name in rows.columns if rows[name].null_count() < rows.height]
    lists = [name for name in kept if rows[name].dtype == pl.List]
    joined = rows.select(kept).with_columns(pl.col(name).cast(pl.List(pl.String)).list.join(" ") for name in lists)
    return joined.write_csv()


def downloads(charts: Sequence[Chart], pdfs: bool) -> tuple[dict[str, dict[str, str]], int]:
    """Give the files that the page offers beside its charts.

    Args:
        charts: of the page.
        pdfs: whether to draw the PDFs.

    Returns:
        Key of a chart -> `name` of its files, `csv` (gzip, then base64) and `pdf` (likewise); and how many files are
        left out for their size.
    """
    files: dict[str, dict[str, str]] = {}
    sizes: list[tuple[int, str, str]] = []
    for chart in charts:
        analysis = chart.key.removeprefix("chart-").rpartition("-")[0]
        files[chart.key] = {"name": slug(analysis, chart.title)}
        made = {"csv": None if chart.rows is None else plain_csv(chart.rows).encode()}
        if pdfs and chart.spec is not None:
            made["pdf"] = pdf(chart.spec)
        for kind, content in made.items():
            if content is not None:
                text = squeezed(content)
                files[chart.key][kind] = text
                sizes.append((len(text), chart.key, kind))
    used, dropped = sum(size for size, _, _ in sizes), 0
    for size, key, kind in sorted(sizes, reverse=True):
        if used <= MOST_BYTES:
            break
        del files[key][kind]
        used, dropped = used - size, dropped + 1
    return files, dropped
