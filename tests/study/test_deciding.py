"""Decisions of a study: which trainings they need and share, what they leave, and what the report says of them."""

import json

import polars as pl
import pytest
from PIL import Image

from bequest.data.pack import open_packed
from bequest.evaluation.predict import measure
from bequest.models.files import read_weights
from bequest.models.opening import open_model
from bequest.report.gathering import gather
from bequest.report.page import render
from bequest.report.session import carry_out
from bequest.report.what_to_do import told
from bequest.study.functions.images import evaluation_batches
from bequest.study.plan import plan
from bequest.study.reading import BadStudy, check, dump
from bequest.study.spec import Study
from bequest.study.store import Store

ASKED = {
    "name": "digits",
    "size": 16,
    "model": "fixup_resnet8",
    "source": {"data": ["fonts"], "recipe": {"epochs": 2, "learning_rate": 0.02, "batch_size": 64}},
    "targets": {"hand": {"data": "digits", "shots": 2}},
    "arms": {"replicas": 1, "same_init": False, "learning_rates": {}, "recipe": {"epochs": 2, "batch_size": 10}},
    "analyses": {"learning_curves": {}, "checkpoints": {"epochs": [0, 1]}},
    "decisions": {"checkpoint": None, "labels": {"sizes": [1, 2]}, "source": {"by": "probe"}},
}


def planned(**changes):
    return plan(Study.model_validate(ASKED | changes))


def test_trainings_are_shared_with_the_analyses_and_the_arms():
    made = planned()
    assert set(made.decided) == {(name, "hand") for name in ("checkpoint", "labels", "source")}
    cells = {cell.name: cell.step for cell in made.further["hand"]}
    own = made.runs["hand"]
    # two shots are the target's own, and the last checkpoint is what the arm starts from
    assert cells["finetune/0 on 2 shots"].key == own["finetune/0"].key == cells["finetune/0 from epoch 2"].key
    one = cells["randinit/0 on 1 shots"]
    assert one.arguments["shots"] == 1 and one.arguments["recipe"]["epochs"] == 4  # as many steps
    without = planned(decisions={})
    assert not without.decided
    more = {step.key for step in made.steps()} - {step.key for step in without.steps()}
    assert len(more) == 3 + 2  # the decisions themselves, and both arms on one shot


def test_a_target_can_be_left_out_and_a_study_comes_back_from_its_dump():
    two = ASKED["targets"] | {"other": {"data": "digits", "shots": 4}}
    made = planned(targets=two, decisions={"labels": {"targets": ["other"]}})
    assert set(made.decided) == {("labels", "other")}
    assert sorted({cell.place for cell in made.further["other"]} - {0, 1, 2}) == [4]
    import yaml

    study = Study.model_validate(ASKED)
    assert Study.model_validate(yaml.safe_load(dump(study))) == study
    assert "decisions" not in dump(Study.model_validate(ASKED | {"decisions": {}}))


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ({"labels": {"targets": ["feet"]}}, "decisions.labels.targets has feet; the targets are hand"),
        ({"checkpoint": {"epochs": [2]}}, "decisions.checkpoint.epochs has 2; the pre-training ends with epoch 2"),
        ({"source": {"by": "luck"}}, "decisions.source.by"),
        ({"labels": {"sizes": [1, 1]}}, "names 1 twice"),
        ({"lables": {}}, "unknown key `decisions.lables`; did you mean `labels`"),
    ],
)
def test_what_cannot_be_decided_is_told_with_its_key(decisions, said):
    with pytest.raises(BadStudy, match=said):
        check(ASKED | {"decisions": decisions}, lambda location: "study.yaml")


def test_more_shots_than_there_are_cannot_be_asked_for():
    with pytest.raises(ValueError, match=r"decisions.labels.sizes has 100000, but a class of digits has"):
        planned(decisions={"labels": {"sizes": [1, 100000]}})


def test_labels_are_counted_where_an_example_has_one_class(tmp_path):
    for number in range(12):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{number % 2},{number // 6}" for number in range(12)]
    (tmp_path / "spots.csv").write_text("\n".join(["path,red,green", *rows]))
    spots = {"spots": {"data": f"csv:{tmp_path / 'spots.csv'}?labels=red,green"}}
    changes = {"targets": spots, "analyses": {"learning_curves": {}}}
    with pytest.raises(
        ValueError, match=r"spots.csv.* may have several labels; name other targets in decisions.labels"
    ):
        planned(decisions={"labels": {}}, **changes)
    assert ("source", "spots") in planned(decisions={"source": {}}, **changes).decided


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    study = Study.model_validate(ASKED)
    assert carry_out(study, folder, "cpu", 1) == 0
    return plan(study), Store(folder)


def decided(finished, name):
    made, store = finished
    folder = store.open(made.decided[name, "hand"]).folder
    return folder, json.loads((folder / "decision.json").read_text()), pl.read_parquet(folder / "rows.parquet")


def test_every_decision_leaves_its_rows_what_it_says_and_what_it_cost(finished):
    for name in ("checkpoint", "labels", "source"):
        _, told, rows = decided(finished, name)
        assert told["name"] == name and told["sure"] in {"measured", "inconclusive"}
        assert told["costs"]["seconds"] > 0 and told["costs"]["images"] > 0
        assert set(rows["target"]) == {"hand"} and set(rows["analysis"]) == {name}
    _, _, rows = decided(finished, "checkpoint")
    assert rows.filter(pl.col("metric") == "error_loss", split="validation")["x"].to_list() == [0, 1, 2]
    assert rows.filter(metric="saved_images").height == 1
    _, _, rows = decided(finished, "labels")
    assert set(rows.filter(metric="error")["x"]) == {1, 2}
    _, told, rows = decided(finished, "source")
    assert set(rows.filter(metric="probe")["a"]) == {"P", "random init"}


def test_the_weights_of_the_best_source_have_the_test_error_that_is_claimed(finished):
    folder, _, rows = decided(finished, "source")
    made, store = finished
    packed = open_packed(store.open(made.domains["digits"]).folder)
    arguments = made.decided["source", "hand"].arguments
    model = open_model("fixup_resnet8", classes=10)
    weights = read_weights(folder / "source.safetensors")
    _, error = measure(model, evaluation_batches(packed, "test", arguments), weights=weights)
    claimed = rows.filter(pl.col("metric") == "error", split="test")["value"].item()
    assert error == pytest.approx(claimed, abs=1e-9)


def test_the_report_says_what_to_do(finished):
    contents = gather(*finished)
    assert [advice.decision for advice in contents.advices] == ["checkpoint", "labels", "source"]
    page = render(contents)
    assert '<h2 id="advices">What to do</h2>' in page
    for made in [one for _, group in told(contents.advices, ["hand"]) for one in group]:
        assert made.title in page and made.cost in page and "examples through the network" in made.cost
        assert f"<b>{made.word.capitalize()}.</b>" in page
    made = contents.advices[-1].weights
    assert made is not None and made in page and (finished[1].root / made).is_file()
