"""Which runs, paths, ends and images do criticality and the pictures of valleys take?"""

import math

import polars as pl
import pytest

from bequest.analyses.criticality import chart, verdict
from bequest.study.functions import parts
from bequest.study.step import Context

NAMES = ["finetune/0", "finetune/1", "randinit/0", "probe/0"]
OPTIONS = {"replicas": 1, "draws": 0, "paths": ["direct"], "ends": ["last"], "images": None, "tolerance": None}


def ways(rows):
    return rows.filter(metric="final_error").select("a", "path", "end").rows()


def test_each_arm_along_both_paths_to_both_ends(measured):
    asked = {"paths": ["direct", "checkpoints"], "ends": ["last", "best"]}
    rows = measured(parts.criticality, NAMES[:3], **OPTIONS | asked)
    assert len(ways(rows)) == 2 * 4 == len(set(ways(rows)))
    assert {name for name, _, _ in ways(rows)} == {"finetune/0", "randinit/0"}
    for end, between in (("last", ["epoch-1", "epoch-2", "epoch-4"]), ("best", ["epoch-1", "epoch-2"])):
        path = rows.filter(metric="path_error", a="randinit/0", module="conv1", end=end)
        assert path["checkpoint"].to_list() == between
        move = rows.filter(metric="move", a="randinit/0", module="conv1", end=end)["value"][0]
        whole = 8 if end == "last" else 4
        shares = [int(name.removeprefix("epoch-")) / whole for name in between]
        assert path["x"].to_list() == pytest.approx([share * move for share in shares], rel=1e-3)
    assert rows.filter(metric="rerandomised_error").height == 8 * 5
    assert chart(rows).to_dict()["vconcat"] and len(verdict(rows)) == 1


def test_fewer_replicas_of_control_arms_and_of_other_paths(measured):
    asked = {"replicas": 2, "others": 1, "paths": ["direct", "checkpoints"]}
    rows = measured(parts.criticality, [*NAMES, "probe/1"], **OPTIONS | asked)
    assert sorted(ways(rows)) == [
        ("finetune/0", "checkpoints", "last"),
        ("finetune/0", "direct", "last"),
        ("finetune/1", "direct", "last"),
        ("probe/0", "direct", "last"),
        ("randinit/0", "checkpoints", "last"),
        ("randinit/0", "direct", "last"),
    ]


def test_frozen_modules_did_not_move_and_are_not_critical(measured):
    asked = {"draws": 2, "paths": ["direct", "checkpoints"], "precision": 0.5}
    rows = measured(parts.criticality, ["probe/0"], **OPTIONS | asked)
    body = rows.filter(pl.col("module").is_in(["conv1", "layer1.0", "layer2.0", "layer3.0"]))
    assert set(body.filter(metric="move")["value"]) == {0.0} == set(body.filter(metric="mu")["value"])
    assert rows.filter(metric="move", module="fc")["value"].min() > 0
    assert verdict(rows) == ()
    strict = measured(parts.criticality, ["probe/0"], **OPTIONS | {"draws": 2, "tolerance": 0.0})
    if strict.filter(metric="final_error")["value"][0] > 0:
        assert set(strict.filter(metric="mu")["value"]) == {math.inf}


def test_no_more_images_than_asked_for_the_same_every_time(measured):
    rows = [measured(parts.criticality, ["finetune/0"], **OPTIONS | {"images": count}) for count in (5, 5, 500)]
    assert [frame.filter(metric="final_error")["n"].to_list() for frame in rows] == [[5], [5], [12]]
    assert rows[0].equals(rows[1])


def test_without_checkpoints_their_path_is_refused_with_the_way_out(inputs_of, make_run, tmp_path):
    bare = {"run/finetune/0": make_run("finetune/0", kept=()), "images": inputs_of()["images"]}
    arguments = OPTIONS | {"runs": ["finetune/0"], "target": "x", "shots": None, "mean": [0.5] * 3, "std": [0.25] * 3}
    arguments |= {"seed": 1, "paths": ["checkpoints"], "points": 2, "modules": []}
    for function in (parts.criticality, parts.valley):
        with pytest.raises(ValueError, match=r"kept no checkpoints .* set arms\.checkpoint_epochs"):
            function(tmp_path, arguments, bare, Context())


def test_valleys_of_the_first_middle_and_last_module_or_of_those_named(measured):
    options = {"modules": [], "replicas": 1, "points": 2, "draws": 1, "paths": ["direct", "checkpoints"]}
    rows = measured(parts.valley, NAMES, **options)
    assert rows["module"].unique(maintain_order=True).to_list() == ["conv1", "layer2.0", "fc"]
    assert rows["a"].unique(maintain_order=True).to_list() == ["finetune/0", "randinit/0"]
    places = rows.group_by("a", "path", "module", maintain_order=True).agg(pl.col("x").n_unique())
    assert set(places.filter(path="direct")["x"]) == {2} and set(places.filter(path="checkpoints")["x"]) == {5}
    named = measured(parts.valley, NAMES, **options | {"modules": ["fc"], "replicas": 2, "paths": ["direct"]})
    assert named.select("a", "module").unique(maintain_order=True).rows() == [
        (name, "fc") for name in ("finetune/0", "finetune/1", "randinit/0")
    ]
    with pytest.raises(KeyError, match="no module 'head'; it has conv1"):
        measured(parts.valley, NAMES, **options | {"modules": ["head"]})
    with pytest.raises(ValueError, match="no run of finetune or randinit"):
        measured(parts.valley, ["probe/0"], **options)
