"""The key of a step is its identity: what changes the result changes the key, and nothing else does."""

import json
import pickle
from dataclasses import replace

import pytest

from bequest.study.step import Context, Step, key_of
from bequest.study.store import Store

GIVEN = Step("train", 1, {"seed": 0}, {}, label="train", cost=3.0)
STEP = Step("predict", 1, {"split": "test"}, {"run": GIVEN}, label="predict")


def test_the_key_is_stable_across_versions_of_python_and_machines():
    assert GIVEN.key == "train-ae53d295b11bad2aa72dc928"
    assert Step("train", 1, {"b": 1, "a": 2}).key == Step("train", 1, {"a": 2, "b": 1}).key


def test_what_changes_the_result_changes_the_key():
    others = [
        replace(STEP, function="other"),
        replace(STEP, version=2),
        replace(STEP, arguments={"split": "train"}),
        replace(STEP, inputs={"other": GIVEN}),
        replace(STEP, inputs={"run": replace(GIVEN, arguments={"seed": 1})}),
    ]
    keys = {STEP.key, *(step.key for step in others)}
    assert len(keys) == 6


def test_labels_costs_and_places_do_not_change_the_key():
    assert replace(STEP, label="x", cost=9.0, places={"path": "/somewhere"}).key == STEP.key


def test_the_context_of_a_step_tells_and_names_a_folder_that_stays_inside(tmp_path):
    told = []
    step = Step("train", 1, {}, label="../..\n<b>: train finetune/0 " + "x" * 4000)
    context = Context(device="cuda:1", events=tmp_path).of(step, told.append)
    context.tell(0.5)
    assert (told, context.device) == ([0.5], "cuda:1")
    assert context.events.parent == tmp_path
    assert context.events.name.startswith("b train finetune 0 x") and context.events.name.endswith(step.key[-8:])
    assert len(context.events.name) < 100
    assert Context().of(step, told.append).events is None


def test_a_step_alone_has_the_same_key_and_stays_small():
    steps = [Step("give", 1, {"n": 0}, {}, label="0")]
    for number in range(1, 400):
        steps.append(Step("add", 1, {"n": number}, {"before": steps[-1]}, {"folder": "/data"}, str(number), 3.0, ("",)))
        assert steps[-1].key  # kept, so that none has to go down the whole chain
    last = steps[-1]
    sent = pickle.loads(pickle.dumps(last.alone()))  # the whole chain is too deep for it
    assert sent.key == last.key
    assert sent.identity == last.identity
    assert (sent.label, sent.places, sent.cost, sent.tolerant) == (last.label, last.places, last.cost, last.tolerant)
    assert sent.inputs["before"].key == steps[-2].key
    assert sent.inputs["before"].label == "398"
    assert not sent.inputs["before"].inputs


def test_a_step_whose_inputs_know_their_keys_alone_has_its_key_and_reads_sound_results(tmp_path):
    store = Store(tmp_path)
    for step in (GIVEN, STEP):
        (store.scratch(step) / "value.json").write_text("1")
        store.publish(step, {})
    alone = STEP.alone()
    assert alone.key == STEP.key and not alone.inputs["run"].arguments
    assert store.damage(alone) is store.damage(alone.inputs["run"]) is None


def test_what_is_read_back_from_json_has_the_key_of_what_was_written():
    step = Step("train", 1, {"rates": [0.1, 3e-5], "größe": None, "b": {"z": True, "a": 1}}, {"run": GIVEN})
    assert key_of(json.loads(json.dumps({**step.identity, "label": "x"}))) == step.key
    with pytest.raises(KeyError):
        key_of({"function": "train"})
