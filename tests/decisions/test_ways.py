import polars as pl
import pytest
import torch
from torch import nn

from bequest.decisions.ways import Way, body, least_critical, most_alike, ways
from bequest.models.opening import open_model
from bequest.models.order import modules

ORDER = ["a", "b", "c", "d"]


def named(found):
    return {way.name: way.frozen for way in found}


def test_beginnings_are_evenly_spaced_and_the_probe_freezes_everything_below_the_head():
    found = named(ways(ORDER, prefixes=3))
    assert found == {
        "finetune": (),
        "lp-ft": (),
        "slower": (),
        "auto-rgn": (),
        "frozen to a": ("a",),
        "frozen to b": ("a", "b"),
        "frozen to c": ("a", "b", "c"),
        "probe": ("a", "b", "c", "d"),
    }
    assert named(ways(ORDER, prefixes=1, rules=())) == {"frozen to b": ("a", "b")}
    assert named(ways(ORDER, prefixes=50, rules=("probe",))).keys() == {
        "frozen to a",
        "frozen to b",
        "frozen to c",
        "probe",
    }


def test_two_ways_that_freeze_the_same_are_one():
    found = ways(ORDER, prefixes=1, rules=("finetune", "probe"), named={"mine": ["b", "a"], "all": ORDER, "odd": ["c"]})
    assert [way.name for way in found] == ["finetune", "frozen to b", "odd", "probe"]


def criticality(content):
    return pl.DataFrame(
        [
            {"a": run, "module": name, "metric": metric, "value": value, "path": path, "end": "last"}
            for run, metric, path, values in content
            for name, value in zip(ORDER, values, strict=True)
        ]
    )


def test_the_least_critical_come_first_by_the_mean_over_fine_tuned_runs():
    found = criticality(
        [
            ("finetune/0", "mu", "direct", [4.0, 0.0, 1.0, float("inf")]),
            ("finetune/1", "mu", "direct", [2.0, 0.0, 3.0, 1.0]),
            ("finetune/0", "mu", "checkpoints", [0.0, 9.0, 9.0, 0.0]),
            ("randinit/0", "mu", "direct", [0.0, 99.0, 99.0, 0.0]),
            ("finetune/0", "rewind_error", "direct", [0.0, 1.0, 0.0, 0.0]),
        ]
    )
    assert least_critical(found, ORDER) == [("b", 0.0), ("c", 2.0), ("a", 3.0), ("d", float("inf"))]
    assert named(ways(ORDER, prefixes=0, rules=(), criticality=found)) == {
        "least critical half": ("b", "c"),
        "uncritical": ("b",),
    }
    rewound = found.filter(pl.col("metric") == "rewind_error")
    assert [name for name, _ in least_critical(rewound, ORDER)] == ["a", "c", "d", "b"]
    assert least_critical(found.filter(pl.col("metric") == "none"), ORDER) == []


def test_the_most_alike_are_those_with_the_highest_cka_to_p():
    found = pl.DataFrame(
        [
            {"a": a, "b": b, "module": one, "module_b": other, "metric": "cka", "value": value}
            for a, b, one, other, value in [
                ("P", "finetune/0", "a", "a", 0.9),
                ("P", "finetune/0", "b", "b", 0.2),
                ("finetune/1", "P", "b", "b", 0.4),
                ("P", "finetune/0", "c", "c", 0.99),
                ("P", "finetune/0", "b", "c", 1.0),
                ("P", "randinit/0", "b", "b", 1.0),
                ("finetune/0", "finetune/1", "b", "b", 1.0),
            ]
        ]
    )
    assert most_alike(found, ORDER) == ["c", "a", "b"]
    assert named(ways(ORDER, prefixes=0, rules=(), similarity=found)) == {"most alike half": ("a", "c")}


def test_the_head_is_never_frozen():
    model = open_model("resnet8", classes=3, seed=0)
    units = modules(model, torch.zeros(1, 3, 16, 16))
    below = body(model, units)
    assert [unit.name for unit in units] == [*below, "fc"]
    odd = nn.Sequential(nn.Conv1d(2, 3, 1), nn.Conv1d(3, 2, 1))
    assert body(odd, modules(odd, torch.zeros(1, 2, 4))) == ["0"]


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match="'x' in 'mine' is no module below the head; there are a, b, c, d"):
        ways(ORDER, named={"mine": ["x"]})
    with pytest.raises(ValueError, match="no way 'half'"):
        ways(ORDER, rules=("half",))
    assert Way("x").frozen == ()
