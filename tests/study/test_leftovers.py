"""Cleaning takes what nothing refers to, and nothing else, ever."""

import json

import pytest

from bequest.study.leftovers import leftovers, remove
from bequest.study.pulse import pulse
from bequest.study.step import Step
from bequest.study.store import Store, StoreError

KEPT, OLD, BEGUN, FAILED = (Step("train", 1, {"n": n}, label=f"train {n}") for n in range(4))


@pytest.fixture
def store(tmp_path):
    """A result that is wanted, one that is not, one that was begun and one that failed."""
    store = Store(tmp_path / "study")
    for step, text in ((KEPT, "kept"), (OLD, "old" * 1000)):
        (store.scratch(step) / "rows.txt").write_text(text)
        store.publish(step, {})
    (store.scratch(BEGUN) / "state").write_text("12345")
    store.fail(FAILED, {"message": "no"})
    return store


def everything(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "lock"}


def test_what_nothing_refers_to_is_found_with_its_size(store):
    found = {one.label: one for one in leftovers(store.root, {KEPT.key})}
    assert found.keys() == {"train 1", BEGUN.key, "train 3"}
    assert {name: one.kind for name, one in found.items()} == {
        "train 1": "result", BEGUN.key: "begun", "train 3": "failure",
    }  # fmt: skip
    assert found[BEGUN.key].bytes == 5
    assert found["train 1"].bytes == sum(len(c) for p, c in everything(store.root).items() if OLD.key in str(p))
    assert next(iter(found)) == "train 1"  # the largest first
    assert leftovers(store.root, {step.key for step in (KEPT, OLD, BEGUN, FAILED)}) == []


def test_what_is_wanted_stays_byte_for_byte(store):
    before = {path: content for path, content in everything(store.root).items() if KEPT.key in str(path)}
    found = leftovers(store.root, {KEPT.key})
    assert remove(store.root, found, lambda: {KEPT.key}) == sum(one.bytes for one in found)
    assert everything(store.root) == before
    assert store.has(KEPT) and not store.has(OLD)


def test_what_is_wanted_by_now_stays(store):
    found = leftovers(store.root, {KEPT.key})
    remove(store.root, found, lambda: {KEPT.key, OLD.key})
    assert store.has(OLD) and store.open(OLD).intact() is None
    assert store.failure(FAILED) is None


def test_nothing_is_removed_while_a_run_works_in_the_folder(store):
    found = leftovers(store.root, set())
    before = everything(store.root)
    with store.only_driver(), pytest.raises(StoreError, match="another run is working in this folder"):
        remove(store.root, found, set)
    assert everything(store.root) == before


def test_a_step_that_somebody_works_on_is_left_alone(store):
    with pulse(store.scratch(BEGUN), "cpu", lambda share: None):  # as a worker whose driver is gone
        assert BEGUN.key not in {one.folder.name for one in leftovers(store.root, set())}
    assert BEGUN.key in {one.folder.name for one in leftovers(store.root, set())}


def test_nothing_outside_and_nothing_of_others_is_touched(store, tmp_path):
    outside = tmp_path / "outside"
    (outside / "train-0123456789abcdef01234567").mkdir(parents=True)
    (outside / "train-0123456789abcdef01234567" / "mine.txt").write_text("mine")
    mine = store.root / "steps" / "my notes"
    mine.mkdir()
    (mine / "mine.txt").write_text("mine")
    (store.root / "steps" / "train-000000000000000000000000").symlink_to(outside)
    (store.scratch(BEGUN) / "link").symlink_to(outside)
    store.clear_failure(FAILED)
    (store.root / "failed").rmdir()
    (store.root / "failed").symlink_to(outside)  # the whole part is a link
    found = leftovers(store.root, {KEPT.key})
    assert {one.folder.name for one in found} == {OLD.key, BEGUN.key}
    remove(store.root, found, lambda: {KEPT.key})
    assert (outside / "train-0123456789abcdef01234567" / "mine.txt").read_text() == "mine"
    assert (mine / "mine.txt").is_file()


def test_event_files_go_with_their_step(store):
    for step in (KEPT, OLD):
        (store.root / "tensorboard" / f"train {step.key[-8:]}").mkdir(parents=True)
    (store.root / "tensorboard" / "my own").mkdir()
    found = [one.folder.name for one in leftovers(store.root, {KEPT.key}) if one.kind == "event files"]
    assert found == [f"train {OLD.key[-8:]}"]


def test_a_label_that_cannot_be_read_is_the_name_of_the_folder(store):
    (store.root / "steps" / OLD.key / "spec.json").write_text(json.dumps([1]))
    assert OLD.key in {one.label for one in leftovers(store.root, {KEPT.key})}
