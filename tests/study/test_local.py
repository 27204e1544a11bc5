"""The local engine: what is there is not done again, failures are data, damage is repaired."""

import json

import pytest

from bequest.study.engines.local import run
from bequest.study.step import Context, Function, Step
from bequest.study.store import Store, StoreError


class Silent:
    def __init__(self):
        self.heard = []

    def begins(self, step):
        pass

    def goes_on(self, share):
        pass

    def ends(self, step, outcome, seconds):
        self.heard.append((step.label, outcome))

    def says(self, text):
        self.heard.append(text)


def give(folder, arguments, inputs, context):
    (folder / "value.json").write_text(json.dumps(arguments["value"]))


def add(folder, arguments, inputs, context):
    (folder / "value.json").write_text(json.dumps(sum(artefact.json("value") for artefact in inputs.values())))


def burst(folder, arguments, inputs, context):
    raise ArithmeticError("the loss became nan")


def full(folder, arguments, inputs, context):
    raise OSError(28, "No space left on device")


LUCK = {"holds": True}


def sometimes(folder, arguments, inputs, context):
    if not LUCK["holds"]:
        raise ArithmeticError("not today")
    (folder / "value.json").write_text("5")


FUNCTIONS = {
    "sometimes": Function(sometimes),
    "give": Function(give),
    "add": Function(add),
    "gather": Function(add, tolerant=("",)),
    "burst": Function(burst),
    "full": Function(full),
}
ONE = Step("give", 1, {"value": 1}, {}, label="one")
TWO = Step("give", 1, {"value": 2}, {}, label="two")
SUM = Step("add", 1, {}, {"a": ONE, "b": TWO}, label="sum")
SOMETIMES = Step("sometimes", 1, {}, {}, label="sometimes")
BAD = Step("burst", 1, {}, {}, label="bad")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def carry_out(store, *steps):
    watcher = Silent()
    return run(steps, FUNCTIONS, store, Context(), watcher), watcher


def test_steps_are_done_once(store):
    first, _ = carry_out(store, ONE, TWO, SUM)
    assert list(first.done) == ["one", "two", "sum"]
    assert store.open(SUM).json("value") == 3
    second, _ = carry_out(store, ONE, TWO, SUM)
    assert second.there == ["one", "two", "sum"]
    assert not second.done


def test_a_failed_step_leaves_its_traceback_and_the_rest_goes_on(store):
    after = Step("add", 1, {}, {"a": ONE, "b": BAD}, label="after")
    gathered = Step("gather", 1, {}, {"a": ONE, "b": BAD}, label="gathered", tolerant=("",))
    outcome, watcher = carry_out(store, ONE, BAD, after, gathered)
    assert outcome.failed == {"bad": "the loss became nan"}
    assert outcome.left_out == ["after"]
    assert store.open(gathered).json("value") == 1
    assert store.open(gathered).json("provenance")["inputs_that_failed"] == ["b"]
    assert "ArithmeticError" in store.failure(BAD)["traceback"]
    assert ("bad", "failed") in watcher.heard


def test_a_tolerant_step_needs_one_input_of_its_first_kind_and_none_if_that_is_any(store):
    alone = Step("gather", 1, {}, {"b": BAD}, label="alone", tolerant=("b",))
    outcome, _ = carry_out(store, BAD, alone)
    assert outcome.left_out == ["alone"]


def test_a_failed_step_is_tried_again_in_the_next_run(store):
    carry_out(store, BAD)
    outcome, _ = carry_out(store, BAD)
    assert outcome.failed


def test_what_was_made_without_a_failed_input_is_made_again_when_that_is_there(store):
    gathered = Step("gather", 1, {}, {"a": ONE, "b": SOMETIMES}, label="gathered", tolerant=("",))
    after = Step("add", 1, {}, {"g": gathered}, label="after")
    steps = (ONE, SOMETIMES, gathered, after)
    LUCK["holds"] = False
    carry_out(store, *steps)
    assert store.open(after).json("value") == 1
    LUCK["holds"] = True
    outcome, _ = carry_out(store, *steps)
    assert list(outcome.done) == ["sometimes", "gathered", "after"]
    assert store.open(after).json("value") == 6
    assert not carry_out(store, *steps)[0].done


def test_a_damaged_input_is_named_and_made_again(store):
    carry_out(store, ONE, TWO)
    (store.open(ONE).folder / "value.json").write_text("7")
    outcome, watcher = carry_out(store, ONE, TWO, SUM)
    assert store.open(SUM).json("value") == 3
    assert list(outcome.done) == ["one", "sum"]
    assert any("value.json has changed since it was written; one is done again" in str(text) for text in watcher.heard)


def test_a_damaged_table_that_nobody_reads_is_found_and_made_again(store):
    carry_out(store, ONE)
    (store.open(ONE).folder / "value.json").unlink()
    outcome, watcher = carry_out(store, ONE)
    assert list(outcome.done) == ["one"]
    assert any("value.json is missing; one is done again" in str(text) for text in watcher.heard)


def test_a_damaged_provenance_is_found_too(store):
    carry_out(store, ONE, TWO, SUM)
    (store.open(SUM).folder / "provenance.json").write_text("{")
    outcome, _ = carry_out(store, ONE, TWO, SUM)
    assert list(outcome.done) == ["sum"]


def test_a_tolerant_step_needs_one_of_the_inputs_that_may_fail_and_all_others(store):
    runs = {"images": ONE, "run/0": BAD, "run/1": TWO}
    some = Step("gather", 1, {}, runs, label="some", tolerant=("run/",))
    none = Step("gather", 1, {}, {"images": ONE, "run/0": BAD}, label="none", tolerant=("run/",))
    blind = Step("gather", 1, {}, {"images": BAD, "run/0": ONE}, label="blind", tolerant=("run/",))
    outcome, _ = carry_out(store, ONE, TWO, BAD, some, none, blind)
    assert outcome.left_out == ["none", "blind"]
    assert store.open(some).json("value") == 3


def test_what_an_interrupted_try_left_is_not_used_with_renewed_inputs(store):
    gathered = Step("gather", 1, {}, {"a": ONE, "b": SOMETIMES}, label="gathered", tolerant=("",))
    after = Step("add", 1, {}, {"g": gathered}, label="after")
    LUCK["holds"] = False
    carry_out(store, ONE, SOMETIMES, gathered)
    (store.scratch(after) / "state").write_text("begun with the old inputs")
    LUCK["holds"] = True
    carry_out(store, ONE, SOMETIMES, gathered, after)
    assert not (store.open(after).folder / "state").exists()


def test_a_full_disk_stops_the_run_with_one_message(store):
    with pytest.raises(StoreError, match="the disk is full; what is done is kept"):
        carry_out(store, ONE, Step("full", 1, {}, {}, label="full"))
    assert store.has(ONE)
