"""A plan is written beside its results and read back the same."""

import pytest

from bequest.study.planned import noted, write_plan, written_plan, written_plans
from bequest.study.step import Step
from bequest.study.store import StoreError

ONE = Step("images", 1, {"door": "a"}, label="draw <a> → b\n", cost=2.5)
TWO = Step("train", 1, {}, {"images": ONE}, label="train", cost=7.0)


def test_a_plan_is_read_back_as_it_was(tmp_path):
    write_plan(tmp_path, "study", [ONE, TWO])
    assert written_plan(tmp_path, "study") == noted([ONE, TWO])
    first, second = written_plan(tmp_path, "study")
    assert (first.key, first.label, first.function, first.cost, first.inputs) == (
        ONE.key, ONE.label, "images", 2.5, (),
    )  # fmt: skip
    assert second.inputs == (ONE.key,)


def test_a_plan_that_is_there_is_not_touched_and_one_that_changed_is_seen(tmp_path):
    write_plan(tmp_path, "study", [ONE])
    path = tmp_path / "plans" / "study.json"
    written = path.stat().st_mtime_ns
    write_plan(tmp_path, "study", [ONE])
    assert path.stat().st_mtime_ns == written
    assert len(written_plan(tmp_path, "study")) == 1
    write_plan(tmp_path, "study", [ONE, TWO])
    assert len(written_plan(tmp_path, "study")) == 2


def test_each_study_in_a_folder_has_its_plan(tmp_path):
    assert written_plan(tmp_path, "one") is None
    assert written_plans(tmp_path) == {}
    write_plan(tmp_path, "one", [ONE])
    write_plan(tmp_path, "two", [ONE, TWO])
    assert {name: len(steps) for name, steps in written_plans(tmp_path).items()} == {"one": 1, "two": 2}


@pytest.mark.parametrize("text", ["{", "[1]", '[{"key": 1}]'])
def test_a_damaged_plan_is_named(tmp_path, text):
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "study.json").write_text(text)
    with pytest.raises(StoreError, match=r"study\.json cannot be read .* writes it again"):
        written_plan(tmp_path, "study")
