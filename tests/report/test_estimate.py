"""What is printed before a run, and that printing it writes nothing."""

import io
import re

import pytest
from rich.console import Console

from bequest.report.estimate import print_estimate
from bequest.study.plan import plan
from bequest.study.spec import Study
from bequest.study.store import Store

STUDY = Study.model_validate(
    {
        "name": "digits",
        "size": 8,
        "source": {"data": ["fonts"], "recipe": {"epochs": 2, "batch_size": 64}},
        "targets": {"one": {"data": "digits", "shots": 2}},
        "arms": {"replicas": 2, "recipe": {"epochs": 3, "batch_size": 20}},
        "analyses": {"distance": {}},
    }
)


@pytest.fixture
def shown():
    return Console(file=io.StringIO(), width=160)


def rows(shown):
    lines = [line.split() for line in shown.file.getvalue().splitlines()]
    return {words[0]: words for words in lines if words}


def test_the_counts_need_no_calibration_and_nothing_is_written(tmp_path, shown):
    print_estimate(STUDY, tmp_path / "digits", "cpu", calibrate=False, console=shown)
    table = rows(shown)
    assert table["training"][1:2] == ["6"]  # P, two replicas of two arms, and the twin
    assert table["drawing"][1] == "2"
    assert "estimated" not in shown.file.getvalue()
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_counted_again(tmp_path, shown):
    store = Store(tmp_path / "digits")
    step = next(iter(plan(STUDY).domains.values()))
    store.scratch(step)
    store.publish(step, {})
    print_estimate(STUDY, store.root, "cpu", calibrate=False, console=shown)
    assert rows(shown)["drawing"][1] == "1"
    assert f"1 of 10 steps are in {store.root} already" in shown.file.getvalue()


def test_it_is_said_that_trainings_have_several_devices(tmp_path, shown):
    study = Study.model_validate(STUDY.model_dump(exclude_unset=True) | {"resources": {"training": {"devices": 4}}})
    print_estimate(study, tmp_path / "digits", "cpu", budget=0.02, console=shown)
    assert "reckoned on one device; the study gives it 4" in shown.file.getvalue()


def test_hours_on_one_device_and_on_several(tmp_path, shown):
    print_estimate(STUDY, tmp_path / "digits", "cpu", devices=3, budget=0.02, console=shown)
    text = shown.file.getvalue()
    hours = re.search(r"estimated on cpu: ([0-9.]+) hours \(drawing .*, training .*, measuring .*\)", text)
    fewer = re.search(r"on 3 devices like it: ([0-9.]+) hours, (\d+)% of their time", text)
    assert 0 <= float(fewer[1]) <= float(hours[1])
    assert 33 <= int(fewer[2]) <= 100
    assert "GPU-hours: not known here" in text
