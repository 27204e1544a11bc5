"""What is shown and asked before something is removed; studies that are used are left alone."""

import io

import pytest
from rich.console import Console

from bequest.report.cleaning import clean_up, size
from bequest.study.planned import write_plan
from bequest.study.step import Step
from bequest.study.store import Store, StoreError

NEW, OLD, OTHER = (Step("train", 1, {"n": n}, label=f"train {n}") for n in range(3))


@pytest.fixture
def studies(tmp_path):
    """Two studies; each holds a result of its plan, one of another study's in the same folder, and an old one."""
    for name in ("one", "two"):
        store = Store(tmp_path / "studies" / name)
        (store.root / "study.yaml").write_text(f"name: {name}\n")
        write_plan(store.root, name, [NEW])
        write_plan(store.root, "other", [OTHER])
        for step in (NEW, OLD, OTHER):
            (store.scratch(step) / "rows.txt").write_bytes(bytes(2000))
            store.publish(step, {})
    return tmp_path / "studies"


@pytest.fixture
def shown():
    return Console(file=io.StringIO(), width=120)


def keys(folder):
    return {path.name for path in (folder / "steps").iterdir()}


def test_it_shows_asks_and_removes_what_no_study_refers_to(studies, shown):
    asked = []
    gone = clean_up(studies / "one", lambda question: asked.append(question) or True, shown)
    assert keys(studies / "one") == {NEW.key, OTHER.key}
    assert keys(studies / "two") == {NEW.key, OLD.key, OTHER.key}
    assert asked == [f"Remove these 1 from {studies / 'one'}?"]
    text = shown.file.getvalue()
    assert f"1 folders that no study refers to, {size(gone)}" in text
    assert "train 1" in text and f"steps/{OLD.key}" in text
    assert 2000 < gone < 4000


def test_no_is_no_and_a_dry_run_asks_nothing(studies, shown):
    assert clean_up(studies / "one", lambda question: False, shown) == 0
    assert clean_up(studies / "one", None, shown) == 0
    assert keys(studies / "one") == {NEW.key, OLD.key, OTHER.key}
    assert shown.file.getvalue().count("train 1") == 2


def test_a_folder_of_studies_is_cleaned_study_by_study(studies, shown):
    (studies / "link").symlink_to(studies / "one")
    with Store(studies / "two").only_driver():
        clean_up(studies, lambda question: True, shown)
    assert keys(studies / "one") == {NEW.key, OTHER.key}
    assert keys(studies / "two") == {NEW.key, OLD.key, OTHER.key}
    assert "another run is working in this folder" in shown.file.getvalue()
    assert "link" not in shown.file.getvalue()


def test_a_study_that_runs_is_refused(studies, shown):
    with Store(studies / "two").only_driver(), pytest.raises(StoreError, match="another run is working"):
        clean_up(studies / "two", lambda question: True, shown)
    assert keys(studies / "two") == {NEW.key, OLD.key, OTHER.key}


def test_where_all_is_wanted_nothing_is_asked(studies, shown):
    clean_up(studies / "one", lambda question: True, shown)
    assert clean_up(studies / "one", lambda question: pytest.fail("asked"), shown) == 0
    assert "nothing to remove" in shown.file.getvalue()


def test_a_folder_without_a_study_is_named(tmp_path, shown):
    with pytest.raises(FileNotFoundError, match="no study here"):
        clean_up(tmp_path, None, shown)


def test_sizes_are_said_in_words():
    assert [size(count) for count in (0, 999, 1000, 3_250_000, 7e9, 2.5e15)] == [
        "0 bytes", "999 bytes", "1.0 kB", "3.2 MB", "7.0 GB", "2500.0 TB",
    ]  # fmt: skip
