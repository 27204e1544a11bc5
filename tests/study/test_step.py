"""The key of a step is its identity: what changes the result changes the key, and nothing else does."""

from dataclasses import replace

from bequest.study.step import Context, Step

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
