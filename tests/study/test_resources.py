"""What steps ask of a cluster is read from the study, written again, and part of no step's identity."""

import pytest

from bequest.report.session import _report_step
from bequest.study.engines.cluster import GIBIBYTE, Cluster
from bequest.study.functions import FUNCTIONS
from bequest.study.plan import plan
from bequest.study.reading import BadStudy, check, dump, read_study
from bequest.study.resources import Resources, Training

ASKED = {
    "name": "digits",
    "size": 16,
    "source": {"data": ["fonts"], "recipe": {"epochs": 2}},
    "targets": {"digits": {"data": "digits", "shots": 2}},
}
LARGE = {"resources": {"training": {"cpus": 8, "gpus": 2, "memory_gib": 16}, "rest": {"cpus": 2}}}
SEVERAL = {"resources": {"training": {"devices": 2}}}


def test_no_key_depends_on_resources():
    first = plan(check(dict(ASKED)))
    for other in (plan(check(ASKED | LARGE)), plan(check(ASKED | SEVERAL))):
        assert [step.key for step in first.steps()] == [step.key for step in other.steps()]
        assert _report_step(first).key == _report_step(other).key


def test_resources_are_written_and_read_again_and_left_out_where_none_are_named(tmp_path):
    study = check(ASKED | LARGE)
    (tmp_path / "study.yaml").write_text(dump(study))
    assert read_study(tmp_path / "study.yaml").resources == study.resources
    assert study.resources.training == Training(cpus=8, gpus=2, memory_gib=16)
    assert "resources" not in dump(check(dict(ASKED)))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"trainings": {}}, "unknown key `resources.trainings`; did you mean `training`"),
        ({"training": {"cpu": 1}}, "unknown key `resources.training.cpu`; did you mean `cpus`"),
        ({"rest": {"cpus": 0}}, "`resources.rest.cpus` is 0: input should be greater than or equal to 1"),
        ({"analyses": {"memory_gib": -1}}, "`resources.analyses.memory_gib` is -1"),
        ({"analyses": {"devices": 2}}, "unknown key `resources.analyses.devices`; Known: cpus, gpus"),
        ({"training": {"devices": 0}}, "`resources.training.devices` is 0: input should be greater than or equal to 1"),
        ({"training": {"devices": 2, "gpus": 0.5}}, "gpus is 0.5 beside 2 devices, each of which has a GPU of its own"),
        ({"training": {"devices": 40}}, "resources.training.devices is 40, but a batch of arms.recipe has 32 examples"),
    ],
)
def test_wrong_resources_are_named(asked, message):
    with pytest.raises(BadStudy, match=message):
        check(ASKED | {"resources": asked})


def test_left_out_gpus_are_one_where_there_are_any_and_none_for_the_rest(tmp_path):
    asked = Resources(training=Training(cpus=2, gpus=0.25, memory_gib=3))
    some = Cluster(tmp_path, gpus=True, forbidden=False)
    assert some.asks("training", asked) == {"num_cpus": 2, "num_gpus": 0.25, "memory": 3 * GIBIBYTE}
    assert some.asks("analyses", asked) == {"num_cpus": 1, "num_gpus": 1}
    assert some.asks("rest", asked) == {"num_cpus": 1, "num_gpus": 0}
    assert Cluster(tmp_path, gpus=False, forbidden=False).asks("analyses", asked)["num_gpus"] == 0
    assert Cluster(tmp_path, gpus=True, forbidden=True).asks("training", asked)["num_gpus"] == 0


def test_each_of_several_devices_is_asked_for(tmp_path):
    asked = Resources(training=Training(cpus=2, memory_gib=3, devices=4))
    some = Cluster(tmp_path, gpus=True, forbidden=False)
    assert some.asks("training", asked, 4) == {"num_cpus": 8, "num_gpus": 4, "memory": 12 * GIBIBYTE}
    assert some.asks("training", asked) == {"num_cpus": 2, "num_gpus": 1, "memory": 3 * GIBIBYTE}


def test_a_complaint_about_devices_names_the_line(tmp_path):
    lines = ["name: digits", "size: 16", "source: {data: [fonts]}", "targets: {digits: {data: digits}}"]
    lines += [
        "resources:",
        "  training:",
        "    devices: 4",
        "analyses:",
        "  block_shuffle:",
        "    recipe: {batch_size: 2}",
    ]
    (tmp_path / "study.yaml").write_text("\n".join(lines))
    with pytest.raises(
        BadStudy, match=r"study.yaml:7: .*devices is 4, but a batch of analyses.block_shuffle.recipe has 2"
    ):
        read_study(tmp_path / "study.yaml")
    given = {"name": "digits", "given": {"a": "a.pt"}, "targets": {"digits": {"data": "digits"}}} | SEVERAL
    with pytest.raises(BadStudy, match="devices is 2, but beside `given` weights nothing is trained"):
        check(given)


def test_devices_without_an_example_in_a_batch_are_refused_when_the_examples_are_counted():
    asked = ASKED | {"arms": {"recipe": {"batch_size": 7}}, "resources": {"training": {"devices": 7}}}
    with pytest.raises(ValueError, match="devices is 7, but 20 training examples are cut into batches of as few as 6"):
        plan(check(asked))


def test_every_function_says_of_which_kind_it_is():
    kinds = {name: function.kind for name, function in FUNCTIONS.items()}
    assert {name for name, kind in kinds.items() if kind == "training"} == {"train", "given"}
    assert {name for name, kind in kinds.items() if kind == "rest"} == {"images", "texts", "weights", "choose"}
