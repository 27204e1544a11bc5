"""The analyses that a study makes when it is asked to, on the runs that are there."""

import re
import shutil

import polars as pl
import pytest

DEEPER = {
    "basin": "{samples: 4}",
    "plane": "{points: 3, budget: 1}",
    "connectivity": "{epochs: 2, points: 5}",
    "matching": "{points: 5}",
    "criticality": "{draws: 2, ends: [last, best]}",
    "valley": "{points: 2, draws: 1}",
    "spectrum": "{top: 2}",
}


@pytest.fixture(scope="module")
def deeper(finished, study_file, bequest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deeper") / "digits"
    shutil.copytree(finished, folder)
    changes = [f"analyses.{name}={options}" for name, options in DEEPER.items()]
    ran = bequest("run", study_file, *changes, "--folder", folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder, ran.stdout


def test_nothing_is_trained_again(deeper):
    done = re.findall(r"\] (.+?): done", deeper[1])
    assert done == [*(f"handwriting: measure {name}" for name in DEEPER), "write the report"]


@pytest.mark.parametrize("name", DEEPER)
def test_each_leaves_rows_and_a_section_that_could_be_drawn(deeper, name):
    folder, _ = deeper
    [found] = (folder / "steps").glob(f"{name}-*")
    table = pl.read_parquet(found / "rows.parquet")
    assert table["analysis"].unique().to_list() == [name]
    assert table["target"].unique().to_list() == ["handwriting"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f'id="{name}"' in page
    assert "could not be drawn" not in page.split("<script")[0]


def test_the_claims_on_criticality_and_paths_are_judged(deeper, bequest):
    shown = bequest("show", deeper[0])
    assert shown.returncode == 0
    for claim in ("C9", "C11"):
        [line] = [line for line in shown.stdout.splitlines() if line.strip().startswith(claim)]
        assert "not" not in line.split("   ")[-1]
