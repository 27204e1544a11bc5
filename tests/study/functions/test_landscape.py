"""Do planes, basins, paths and matching look at the right weights, and say what is missing?"""

import polars as pl
import pytest

from bequest.data.pack import open_packed
from bequest.evaluation.batchnorm import refit_batchnorm
from bequest.evaluation.predict import measure
from bequest.study.functions import landscape
from bequest.study.functions.images import evaluation_batches
from bequest.study.functions.measuring import empty_model
from bequest.study.functions.training import run_of
from bequest.study.step import Context
from bequest.weights.algebra import mean
from bequest.weights.planes import plane_through, project

ARMS = ["finetune/0", "finetune/1", "randinit/0", "randinit/1"]
LINE = {"shots": None, "mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.fixture
def planes(measured):
    return measured(landscape.plane, ARMS, points=3, budget=1)


def test_one_plane_through_p_and_one_through_the_middle_of_two_starts(planes, inputs_of):
    assert planes["a"].unique(maintain_order=True).to_list() == [
        "P + finetune/0 + finetune/1",
        "start + randinit/0 + randinit/1",
    ]
    assert planes["target"].unique().to_list() == ["shades"]
    assert planes.filter(metric="loss")["split"].unique(maintain_order=True).to_list() == ["train", "test"]
    notes = dict(planes.filter(metric="corner").select("b", "note").iter_rows())
    assert notes["P"] == "P with the mean of the two fresh heads" and notes["finetune/0"] is None
    assert notes["start"] == "the mean of the two starts"
    inputs = inputs_of(*ARMS)
    model, packed = empty_model(inputs, Context()), open_packed(inputs["images"].folder)
    batches = {split: evaluation_batches(packed, split, LINE) for split in ("train", "test")}
    parameters = [name for name, _ in model.named_parameters()]
    for arm, origin in (("finetune", "P"), ("randinit", "start")):
        runs = [run_of(inputs[f"run/{arm}/{number}"]).checkpoints for number in (0, 1)]
        middle = mean([run["step-0"] for run in runs])
        refitted = refit_batchnorm(model, middle, batches["train"])
        loss, _ = measure(model, batches["test"], weights=refitted)
        row = planes.filter(metric="corner_loss", b=origin, split="test").row(0, named=True)
        assert row["value"] == pytest.approx(loss, rel=1e-5)
        laid = plane_through(middle, runs[0]["last"], runs[1]["last"], parameters)
        walked = planes.filter(metric="trajectory", b=f"{arm}/1").select("x", "y", "value").rows()
        expected = [project(laid, runs[1][name]) for name in ("step-0", "epoch-1", "epoch-2", "epoch-4", "last")]
        assert len(walked) == 5
        for found, known in zip(walked, expected, strict=True):
            assert found == pytest.approx(known, abs=1e-4)


def test_a_plane_that_lacks_a_corner_is_left_out_and_the_missing_run_told(measured):
    rows = measured(landscape.plane, ARMS[:3], runs=ARMS, points=3, budget=1)
    assert rows.filter(metric="corner")["a"].unique().to_list() == ["P + finetune/0 + finetune/1"]
    assert rows.filter(metric="missing_run")["a"].to_list() == ["randinit/1"]
    with pytest.raises(
        ValueError, match="two replicas of an arm, and the runs that are there are finetune/0, randinit/0;"
    ):
        measured(landscape.plane, [ARMS[0], ARMS[2]], points=3, budget=1)


def test_basins_of_all_arms_with_two_replicas_on_the_splits_that_were_asked_for(measured):
    names = ["finetune/0", "finetune/1", "randinit/0", "meanvar/0", "meanvar/1"]
    rows = measured(landscape.basin, names, samples=4, splits=["test"])
    pairs = rows.filter(metric="diameter").select("a", "b").rows()
    assert pairs == [("finetune/0", "finetune/1"), ("meanvar/0", "meanvar/1")]
    assert rows.filter(metric="rise")["split"].unique().to_list() == ["test"]
    assert rows["note"].drop_nulls().str.contains("not refitted").sum() == 0
    with pytest.raises(ValueError, match=r"a basin needs two replicas .* there are finetune/0; set arms\.replicas"):
        measured(landscape.basin, ["finetune/0"], samples=4, splits=["test"])


def test_a_path_joins_random_inits_and_no_more_pairs_than_there_are(measured):
    options = {"kind": "chain", "epochs": 1, "learning_rate": 0.1, "points": 3}
    rows = measured(landscape.connectivity, ARMS, pairs=5, **options)
    assert rows.select("a", "b").unique().rows() == [("randinit/0", "randinit/1")]
    assert set(rows["path"].drop_nulls()) == {"chain", "line"}
    with pytest.raises(ValueError, match="a path needs two random inits"):
        measured(landscape.connectivity, ARMS[:3], pairs=1, **options)


def test_matching_takes_random_inits_or_the_weights_that_are_given(measured):
    rows = measured(landscape.matching, ARMS, points=3, by="weights")
    assert rows.select("a", "b").unique().rows() == [("randinit/0", "randinit/1")]
    assert set(rows["treatment"]) == {"raw", "matched", "repaired"}
    given = measured(landscape.matching, ARMS[:2], points=3, by="weights")
    assert given.filter(pl.col("metric") == "l2").select("a", "b").unique().rows() == [("finetune/0", "finetune/1")]
