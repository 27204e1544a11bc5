"""What the report of a study is made of, gathered from a store with failures in it."""

import numpy as np
import pytest
import torch

from bequest.data.pack import Packed
from bequest.report.gathering import _pictures, gather
from bequest.report.session import carry_out
from bequest.study.plan import plan
from bequest.study.spec import Study
from bequest.study.store import Store

ASKED = {
    "name": "digits",
    "size": 16,
    "model": "fixup_resnet8",
    "source": {"data": ["fonts"], "recipe": {"epochs": 1, "learning_rate": 0.02, "batch_size": 64}},
    "targets": {"hand": {"data": "digits", "shots": 2}},
    "arms": {
        "replicas": 1,
        "same_init": False,
        "learning_rates": {"finetune": [0.01], "randinit": [100.0]},
        "recipe": {"epochs": 2, "warmup": 0, "batch_size": 10},
    },
    "analyses": {"learning_curves": {}, "mistakes": {}},
}


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    study = Study.model_validate(ASKED)
    failed = carry_out(study, folder, "cpu", 1)
    assert failed >= 1
    return folder, gather(plan(study), Store(folder))


@pytest.fixture(scope="module")
def contents(gathered):
    return gathered[1]


def test_failed_steps_are_named_with_their_message_and_traceback(contents):
    names = {failure.step for failure in contents.failures}
    assert "hand: try randinit at 100" in names
    for failure in contents.failures:
        assert "lower the learning rate" in failure.message
        assert "Diverged" in failure.traceback


def test_the_table_of_runs_has_what_went_well_and_what_did_not(contents):
    runs = {row["run"]: row for row in contents.runs.to_dicts()}
    assert set(runs) == {"P", "finetune/0", "randinit/0"}
    assert runs["finetune/0"]["status"] == "done"
    assert runs["finetune/0"]["learning_rate"] == 0.01
    assert 0 <= runs["finetune/0"]["test_error"] <= 1
    assert runs["randinit/0"]["status"] == "left out"
    assert runs["randinit/0"]["test_error"] is None


def test_there_is_a_picture_of_each_class_of_each_domain_and_their_attribution(contents):
    seen = {(picture.domain, picture.label) for picture in contents.pictures}
    assert seen == {(domain, str(digit)) for domain in ("fonts", "digits") for digit in range(10)}
    assert len(contents.attributions) == 2


def test_results_facts_and_the_study_itself_are_there(gathered):
    folder, contents = gathered
    assert set(contents.results) == {"learning_curves", "mistakes"}
    assert contents.done["device"] == "cpu"
    assert "shots: 2" in contents.asked
    assert contents.repeat == (f"bequest run {folder / 'study.yaml'} --folder {folder}",)


def test_what_the_runs_said_is_there_for_every_test_example(contents):
    (found,) = contents.predictions
    assert set(found.answers) == {"finetune/0"}  # the other one failed
    assert found.target == "hand" and found.classes == tuple(map(str, range(10)))
    assert len(found.truth) == len(found.rows) == len(found.answers["finetune/0"])
    error = float((found.answers["finetune/0"] != found.truth).mean())
    runs = {row["run"]: row for row in contents.runs.to_dicts()}
    assert error == pytest.approx(runs["finetune/0"]["test_error"], abs=1e-9)
    assert found.pixels is not None and found.pixels.shape[1:] == (16, 16, 3)


def test_an_image_of_each_label_is_shown():
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    pixels, names = np.zeros((3, 2, 2, 3), np.uint8), list("abc")
    packed = Packed(pixels, targets, names, names, ["train", "test", "test"], ("red", "blue"), "nobody", "csv:x")
    assert [(one.domain, one.label) for one in _pictures(packed)] == [("csv:x", "red")]  # train has no blue
