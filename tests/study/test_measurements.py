"""What a measuring step gets, on which targets it is made, and what it is thought to cost."""

import pytest

from bequest.study.measurements import Images, cost_of
from bequest.study.options import Barrier, Connectivity, Criticality, Plane, Similarity
from bequest.study.plan import plan
from bequest.study.spec import Study

ASKED = {
    "name": "digits",
    "size": 16,
    "source": {"data": ["fonts"], "recipe": {"epochs": 2}},
    "targets": {"one": {"data": "digits", "shots": 2}, "two": {"data": "digits", "shots": 4}},
    "arms": {"replicas": 2, "recipe": {"epochs": 3}},
}
RUNS = ["finetune/0", "finetune/1", "randinit/0", "randinit/1", "randinit/0b"]


def made(**analyses):
    return plan(Study.model_validate(ASKED | {"analyses": analyses}))


def test_an_analysis_can_be_made_on_some_targets_only():
    planned = made(mistakes={}, distance={"targets": ["two"]})
    assert list(planned.measured) == [("mistakes", "one"), ("mistakes", "two"), ("distance", "two")]


def test_a_target_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"analyses.distance.targets has three; the targets are one, two"):
        made(distance={"targets": ["three"]})


def test_what_only_says_where_or_how_to_train_is_no_part_of_the_measurement():
    planned = made(distance={"targets": ["one"]}, block_shuffle={"sizes": [4], "sweep": True, "targets": ["one"]})
    everywhere = made(distance={}, block_shuffle={"sizes": [4]})
    for analysis in ("distance", "block_shuffle"):
        assert planned.measured[analysis, "one"].key == everywhere.measured[analysis, "one"].key


def test_the_runs_of_an_experiment_are_told_with_their_places():
    step = made(block_shuffle={"sizes": [4], "modes": ["per_image"], "targets": ["one"]}).measured[
        "block_shuffle", "one"
    ]
    assert ["finetune/1 on blocks of 4, per image", "finetune/1", 4, "per_image"] in step.arguments["cells"]
    assert step.arguments["runs"] == [name for name, *_ in step.arguments["cells"]]
    assert {f"run/{name}" for name in step.arguments["runs"]} == step.inputs.keys() - {"images"}


def test_costs_are_the_images_that_are_shown():
    images = Images(train=10, test=100, refitted=0)
    normed = Images(train=10, test=100, refitted=10)
    assert cost_of(Similarity(), RUNS, images) == 6 * 100
    assert cost_of(Similarity(), RUNS, normed) == 6 * 100 + 10
    # two pairs within arms, the same-init pair, one across: 4 lines of 3 inner points; the ends once a run
    assert cost_of(Barrier(points=5), RUNS, images) == (3 * 4 + 5) * 110
    assert cost_of(Barrier(points=5, splits=("test",)), RUNS, images) == (3 * 4 + 5) * 100
    assert cost_of(Barrier(points=5), RUNS, normed) == (3 * 4 + 5) * (110 + 10 + 110)
    assert cost_of(Barrier(points=5, pairs="all"), RUNS, images) == (3 * 10 + 5) * 110
    assert cost_of(Plane(points=9, budget=1), RUNS, images) == 2 * (81 + 3) * 110
    assert cost_of(Connectivity(pairs=3, epochs=7, points=5), RUNS, images) == 3 * 7 * 10 + 2 * 5 * 110


def test_criticality_costs_less_for_control_arms_and_further_ways_where_the_study_says_so():
    images = Images(train=200, test=100, refitted=0)
    runs = [*RUNS, "probe/0", "probe/1"]
    one = cost_of(Criticality(replicas=1), RUNS[:1], images)
    assert cost_of(Criticality(replicas=2), runs, images) == 6 * one
    few = Criticality(replicas=2, others=1, ends=("last", "best"))
    assert cost_of(few, runs, images) == (4 + 1 + 2) * one  # both arms; the probe; the other end of both arms
    assert cost_of(Criticality(replicas=1, images=64), RUNS[:1], images) == one / 2
    assert cost_of(Criticality(replicas=1, images=None), RUNS[:1], images) == one * 200 / 128
    assert cost_of(Criticality(replicas=1, draws=5), RUNS[:1], images) == one / 2
