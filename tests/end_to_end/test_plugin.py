"""A separate package adds an analysis to a study, from its options to its section of the report."""

import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import polars as pl
import pytest

PACKAGE = Path(__file__).parents[1] / "plugins" / "overconfidence"


@pytest.fixture
def overconfidence(install, monkeypatch):
    """Install the package as its pyproject.toml says, for this process and for those that it starts."""
    about = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    module = "bequest_overconfidence"
    source = (PACKAGE / f"{module}.py").read_text()
    site = install(module, source, about["entry-points"]["bequest.analyses"], about["version"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return site


def test_it_is_run_cached_charted_and_reported_without_a_change_in_bequest(
    overconfidence, finished, study_file, bequest, tmp_path
):
    folder = tmp_path / "digits"
    shutil.copytree(finished, folder)
    ran = bequest("run", study_file, "overconfidence.bins=5", "--folder", folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    done = re.findall(r"\] (.+?): done", ran.stdout)
    assert done == ["handwriting: measure overconfidence", "write the report"]

    [place] = (folder / "steps").glob("plugin-*")
    assert json.loads((place / "spec.json").read_text())["arguments"]["options"] == {"bins": 5, "split": "test"}
    assert json.loads((place / "plugin.json").read_text())["package"] == "bequest-overconfidence 0.3.0"
    rows = pl.read_parquet(place / "rows.parquet")
    runs = {"finetune/0", "finetune/1", "randinit/0", "randinit/1", "randinit/0b"}
    assert set(rows["a"]) == runs | {"finetune", "randinit"}
    gaps = rows.filter(pl.col("metric") == "overconfidence")
    errors = rows.filter(pl.col("metric") == "calibration_error")
    assert all(abs(gap) <= error + 1e-9 <= 1 + 1e-9 for gap, error in zip(gaps["value"], errors["value"], strict=True))

    page = (folder / "report.html").read_text(encoding="utf-8")
    section = page[page.index('id="overconfidence"') :].split("</section>")[0]
    assert "Are models surer than they are right?" in section
    assert "0 is well calibrated, above 0 boasts." in section
    assert re.search(r'"chart-overconfidence-0": ?\{', page)  # a specification
    assert 'class="problem"' not in section

    again = bequest("run", study_file, "overconfidence.bins=5", "--folder", folder)
    assert again.returncode == 0
    assert "0 steps done" in again.stdout


def test_the_shares_of_its_example_have_known_answers(overconfidence):
    import torch
    from bequest_overconfidence import scores

    sure = torch.tensor([[2.0, 0.0], [2.0, 0.0]]).double()
    confidence = float(sure.softmax(1)[0, 0])
    gap, error = scores(sure, torch.tensor([0, 1]), 10)
    assert gap == pytest.approx(confidence - 0.5)
    assert error == pytest.approx(abs(confidence - 0.5))
    shares = torch.tensor([[0.6, 0.4], [0.9, 0.1]]).double()  # unsure and right, sure and wrong: they do not cancel
    gap, error = scores(shares.log(), torch.tensor([0, 1]), 10)
    assert gap == pytest.approx((-0.4 + 0.9) / 2)
    assert error == pytest.approx((0.4 + 0.9) / 2)


def test_a_study_that_names_it_says_what_to_do_where_it_is_not_installed(study_file, bequest, tmp_path):
    assert "bequest_overconfidence" not in sys.modules
    ran = bequest("run", study_file, "analyses.overconfidence.bins=5", "--folder", tmp_path / "digits")
    assert ran.returncode == 2
    assert "unknown key `analyses.overconfidence`" in ran.stderr
    assert "those of other packages must be installed here" in ran.stderr
    assert not (tmp_path / "digits").exists()
