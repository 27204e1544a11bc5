"""Decisions are steps like analyses: what they need is made before, and nothing else changes."""

import pytest

from bequest.study.plan import plan
from bequest.study.reading import BadStudy, check, dump, with_changes
from bequest.study.spec import Study

ASKED = {
    "name": "digits",
    "size": 16,
    "source": {"data": ["fonts"], "recipe": {"epochs": 2}},
    "targets": {"one": {"data": "digits", "shots": 2}},
    "arms": {"learning_rates": {"finetune": [0.1, 0.2], "randinit": [0.1, 0.3]}, "recipe": {"epochs": 3}},
    "analyses": {"similarity": {}, "distance": {}},
}


def made(**changes):
    return plan(Study.model_validate(ASKED | changes))


@pytest.fixture(scope="module")
def planned():
    return made(decisions={"soup": {}, "freeze": {"replicas": 2}})


def test_a_soup_reads_the_fine_tunes_p_and_the_domains_of_the_same_classes(planned):
    step = planned.decided["soup", "one"]
    runs = {f"run/finetune/{number}" for number in range(3)}
    assert step.inputs.keys() == runs | {"images", "pretrained", "other/fonts"}
    assert step.arguments["runs"] == [name.removeprefix("run/") for name in sorted(runs)]
    assert step in planned.steps()


def test_freezing_reads_p_and_the_analyses_that_tell_what_may_stay(planned):
    step = planned.decided["freeze", "one"]
    assert step.inputs.keys() == {"images", "pretrained", "choice", "measured/similarity"}
    assert step.inputs["choice"] is planned.choices["one", "finetune"]
    assert "learning_rate" not in step.arguments["recipe"]
    seeds = [planned.runs["one"][f"finetune/{number}"].arguments["init_seed"] for number in range(2)]
    assert step.arguments["init_seeds"] == seeds
    own = made(decisions={"freeze": {"recipe": {"epochs": 1, "learning_rate": 0.3}}}).decided["freeze", "one"]
    assert "choice" not in own.inputs
    assert own.arguments["recipe"]["learning_rate"] == 0.3


def test_what_is_not_asked_for_is_not_planned_and_changes_no_key(planned):
    plain = made()
    assert plain.decided == {}
    assert {step.key for step in plain.steps()} < {step.key for step in planned.steps()}
    assert "decisions" not in dump(plain.study)
    assert check(with_changes({**ASKED}, ["decisions.soup.points=7"])).decisions.soup.points == 7


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        ({"soup": {"targets": ["two"]}}, r"decisions.soup.targets has two; the targets are one"),
        ({"freeze": {"replicas": 4}}, r"decisions.freeze.replicas is 4, but arms.replicas is 3"),
        ({"freeze": {"rules": [], "prefixes": 0}}, "nothing to try"),
        ({"freeze": {"learning_rates": [0.0]}}, "above 0"),
        ({"freeze": {"rules": ["probe", "probe"]}}, "names probe twice"),
        ({"freze": {}}, "did you mean `freeze`"),
    ],
)
def test_decisions_that_cannot_be_made_are_told(decisions, message):
    with pytest.raises(BadStudy, match=message):
        check(ASKED | {"decisions": decisions})


def test_beside_given_weights_nothing_is_trained_and_one_file_is_no_soup(tmp_path):
    given = {key: ASKED[key] for key in ("name", "size", "targets")}
    with pytest.raises(BadStudy, match=r"decisions\.freeze needs trainings"):
        check(given | {"given": {"a": "a.pt", "b": "b.pt"}, "decisions": {"freeze": {}}})
    with pytest.raises(BadStudy, match="two files of weights"):
        check(given | {"given": {"a": "a.pt"}, "decisions": {"soup": {}}})
