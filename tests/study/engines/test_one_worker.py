"""What a worker of the Ray engine does with a step; no cluster is needed for that."""

import json

from bequest.study.engines.ray import perform
from bequest.study.step import Context, Function, Step
from bequest.study.store import Store


def give(folder, arguments, inputs, context):
    (folder / "value.json").write_text(json.dumps(arguments["value"]))


def add(folder, arguments, inputs, context):
    (folder / "value.json").write_text(json.dumps(sum(artefact.json("value") for artefact in inputs.values())))


ONE = Step("give", 1, {"value": 1}, label="one")
TWO = Step("give", 1, {"value": 2}, label="two")
SUM = Step("add", 1, {}, {"a": ONE, "b": TWO}, label="sum")
TWICE = Step("add", 1, {}, {"a": SUM, "b": SUM}, label="twice")


def carried(step, root):
    sign = root / "sign"
    sign.write_text("a driver is there")
    return perform(step.alone(), Function(give if step.inputs == {} else add), root, sign, Context("cpu"), 1)


def test_steps_that_come_alone_read_the_results_of_others_that_did(tmp_path):
    for step in (ONE, TWO, SUM, TWICE):
        answer = carried(step, tmp_path)
        assert (answer.trouble, answer.ended.how) == ("", "done"), answer
    assert Store(tmp_path).open(TWICE).json("value") == 6


def test_a_damaged_input_is_named_and_not_read(tmp_path):
    for step in (ONE, TWO):
        carried(step, tmp_path)
    (tmp_path / "steps" / TWO.key / "value.json").write_text("3")
    answer = carried(SUM, tmp_path)
    assert (answer.trouble, answer.damaged) == ("damaged", TWO.key)
    assert "value.json has changed" in answer.message
    assert not Store(tmp_path).has(SUM)


def test_a_machine_that_does_not_see_the_store_says_so(tmp_path):
    answer = perform(ONE.alone(), Function(give), tmp_path, tmp_path / "no sign", Context("cpu"), 1)
    assert answer.trouble == "store" and "does not see" in answer.message
    assert not (tmp_path / "steps").exists()
