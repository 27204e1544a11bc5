"""What a study takes, counted by hand for a small one."""

from dataclasses import replace

import pytest
from safetensors.torch import save

from bequest.data.doors import open_source
from bequest.models.opening import open_model
from bequest.study.estimating import kind, seconds_of, total, works
from bequest.study.plan import plan
from bequest.study.spec import Study

ASKED = {
    "name": "digits",
    "size": 16,
    "source": {"data": ["fonts"], "recipe": {"epochs": 5, "batch_size": 64}},
    "targets": {"one": {"data": "digits", "shots": 3}},
    "arms": {
        "replicas": 2,
        "controls": ["probe"],
        "checkpoint_epochs": [2, 3],
        "recipe": {"epochs": 4, "batch_size": 7, "evaluate_every": 2},
    },
    "analyses": {"barrier": {"points": 5}, "similarity": {}, "distance": {}},
}


@pytest.fixture(scope="module")
def planned():
    return plan(Study.model_validate(ASKED))


@pytest.fixture(scope="module")
def counted(planned):
    return {work.step.label: work for work in works(planned, planned.steps())}


def sides(door):
    listed = [record.split for record in open_source(door).records]
    return {side: listed.count(side) for side in ("train", "validation", "test")}


def test_the_images_of_a_training_are_its_epochs(counted):
    digits = sides("digits")
    work = counted["one: train finetune/0"]
    assert work.learned == 4 * 30  # three shots of ten classes
    assert work.measured == pytest.approx(2 * (30 + digits["validation"]) + digits["test"])
    assert work.trained == 4 * 5  # 30 images in batches of 7
    source = counted["pre-train on fonts"]
    assert source.learned == 5 * sides("fonts")["train"]
    assert counted["one: train probe/0"].trained == work.trained
    assert counted["one: train probe/0"].learned < work.learned  # frozen: less work


def test_the_bytes_that_stay_are_those_of_the_files(counted):
    state = open_model("resnet8", classes=10).state_dict()
    file = len(save(state))
    assert counted["one: train finetune/0"].kept == pytest.approx(5 * file, rel=0.02)  # and a header each
    assert counted["pre-train on fonts"].kept == pytest.approx((3 + 3) * file, rel=0.02)  # 1, 2, 4 too
    assert counted["draw digits"].kept == sum(sides("digits").values()) * 3 * 16 * 16


def test_drawing_and_measuring_have_no_training(counted):
    assert counted["draw digits"].drawn == pytest.approx(sum(sides("digits").values()))
    assert counted["one: measure distance"].measured == 0
    assert counted["one: measure barrier"].measured == counted["one: measure barrier"].step.cost
    assert {kind(work.step) for work in counted.values()} == {"drawing", "training", "measuring"}


def test_seconds_are_counts_times_paces(planned, counted):
    seconds = seconds_of(planned, list(counted.values()), "cpu", budget=0.02)
    named = {label: seconds[work.step.key] for label, work in counted.items()}
    assert named["one: train finetune/0"] == named["one: train randinit/1"] > named["one: train probe/0"] > 0
    assert named["one: measure distance"] == 0
    barrier, similarity = (counted[f"one: measure {name}"].measured for name in ("barrier", "similarity"))
    assert named["one: measure barrier"] / named["one: measure similarity"] == pytest.approx(barrier / similarity)
    sums = total(list(counted.values()), seconds)
    assert sum(sums.values()) == pytest.approx(sum(seconds.values()))
    assert sums["training"] == pytest.approx(sum(value for label, value in named.items() if "train" in label))


def test_a_study_that_trains_nothing_more_is_timed_too(planned, counted):
    left = [work for work in counted.values() if kind(work.step) == "measuring"]
    seconds = seconds_of(planned, left, "cpu", budget=0.02)
    assert seconds[counted["one: measure barrier"].step.key] > 0


def test_texts_are_counted_but_not_timed(planned, counted):
    text = replace(counted["draw digits"].step, function="texts")
    work = replace(counted["draw digits"], step=text)
    with pytest.raises(ValueError, match="--no-calibrate"):
        seconds_of(planned, [work], "cpu", budget=0.02)
