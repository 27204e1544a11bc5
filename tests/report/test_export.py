import shutil
import subprocess

import polars as pl
import pytest

from bequest.report.contents import ReportInput
from bequest.report.export import KINDS, escaped, export


@pytest.fixture(scope="module")
def report(report_maker):
    return report_maker(targets=("line_1", "50 % mono & co"))


def test_parquet_gives_the_rows_back(report, tmp_path):
    made, failed = export(report, tmp_path / "new", "parquet")
    assert not failed
    assert [path.name for path in made] == [
        "learning_curves.parquet", "mistakes.parquet", "runs.parquet", "learning_rates.parquet",
    ]  # fmt: skip
    assert pl.read_parquet(made[1]).equals(report.results["mistakes"])


def test_csv_has_every_row(report, tmp_path):
    made, _ = export(report, tmp_path, "csv")
    back = pl.read_csv(made[1], infer_schema_length=None)
    assert back["value"].to_list() == pytest.approx(report.results["mistakes"]["value"].to_list(), nan_ok=True)
    assert back["a"].to_list() == report.results["mistakes"]["a"].to_list()


def test_latex_tables_hold_the_numbers_and_foreign_text_as_text(report, tmp_path):
    made, _ = export(report, tmp_path, "latex")
    texts = {path.name: path.read_text(encoding="utf-8") for path in made}
    assert set(texts) == {"headline.tex", "verdicts.tex"}
    for text in texts.values():
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        counts = {line.replace(r"\&", "").count("&") for line in rows}
        assert len(counts) == 1 and text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert r"line\_1 & " in texts["headline.tex"] and r"50 \% mono \& co & " in texts["headline.tex"]
    assert "C1 & Pre-training helps" in texts["verdicts.tex"]


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        (r"\input{x} 5 % & $y_1^2$", r"\textbackslash{}input\{x\} 5 \% \& \$y\_1\textasciicircum{}2\$"),
        ("\u22121.5 to -2, x-3", "$-$1.5 to $-$2, x-3"),
        ("a\\\\\nb", r"a\textbackslash{}\textbackslash{} b"),
    ],
)
def test_escaped(text, tex):
    assert escaped(text) == tex


def test_pdf_has_every_figure_and_says_what_it_lacks(report, tmp_path):
    one = ReportInput("x", report.targets[:1], {"mistakes": report.results["mistakes"].filter(target="line_1")})
    broken = ReportInput("x", (), {**one.results, "my_own": one.results["mistakes"].with_columns(target=pl.lit("a"))})
    made, failed = export(broken, tmp_path, "pdf")
    assert [path.name for path in made] == ["mistakes-line-1.pdf"]
    assert made[0].read_bytes().startswith(b"%PDF-") and list(failed) == ["my-own-a.pdf"]
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", str(made[0]), "-"], capture_output=True, text=True, check=True).stdout
        assert "uncommon mistakes" in text


def test_nothing_to_export_and_an_unknown_kind_leave_no_folder(report, tmp_path):
    for kind in KINDS:
        with pytest.raises(ValueError, match="nothing to export"):
            export(ReportInput("x"), tmp_path / "out", kind)
    with pytest.raises(ValueError, match=r"--to word: .*parquet, csv, latex, pdf"):
        export(report, tmp_path / "out", "word")
    assert not (tmp_path / "out").exists()
