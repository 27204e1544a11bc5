import base64
import gzip
import io

import polars as pl
import pytest

from bequest.report.charts import Chart
from bequest.report.figures import downloads, paper, pdf, plain_csv, slug

SPEC = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
    "data": {"values": [{"x": 1, "y": 2}, {"x": 2, "y": 1}]},
    "mark": "line",
    "width": "container",
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
}


def unpacked(text):
    return gzip.decompress(base64.b64decode(text))


def test_a_figure_is_a_pdf_with_a_width_of_its_own():
    assert pdf(SPEC).startswith(b"%PDF-")
    assert paper(SPEC)["width"] == 480 and SPEC["width"] == "container"


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("barrier", "line, test"), "barrier-line-test"),
        (("../../etc", "a/b"), "etc-a-b"),
        ((None, "</script>"), "script"),
        (("漢",), "chart"),
        (("x" * 99,), "x" * 80),
    ],
)
def test_names_of_files_are_plain(parts, name):
    assert slug(*parts) == name


def test_csv_gives_the_rows_back_without_empty_columns():
    rows = pl.DataFrame({"a": ["x, y", 'say "z"'], "value": [0.1, None], "b": [None, None], "c": [[1, 2], [3]]})
    back = pl.read_csv(io.StringIO(plain_csv(rows)))
    assert back.columns == ["a", "value", "c"]
    assert back["a"].to_list() == rows["a"].to_list() and back["value"].to_list() == [0.1, None]
    assert back["c"].to_list() == ["1 2", "3"]


def test_downloads_are_the_rows_and_the_figure_and_the_largest_give_way(monkeypatch):
    rows = pl.DataFrame({"x": range(3)})
    charts = [Chart("chart-barrier-0", "line", "", SPEC, rows=rows), Chart("chart-basin-0", "x", "", rows=rows)]
    files, dropped = downloads(charts, True)
    assert dropped == 0 and files["chart-barrier-0"]["name"] == "barrier-line"
    assert unpacked(files["chart-barrier-0"]["csv"]) == b"x\n0\n1\n2\n"
    assert unpacked(files["chart-barrier-0"]["pdf"]).startswith(b"%PDF-")
    assert set(files["chart-basin-0"]) == {"name", "csv"}
    monkeypatch.setattr("bequest.report.figures.MOST_BYTES", 1000)
    files, dropped = downloads(charts, True)
    assert dropped == 1 and "pdf" not in files["chart-barrier-0"] and "csv" in files["chart-barrier-0"]
