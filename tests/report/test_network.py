import math

import polars as pl
import pytest

from bequest.analyses.result import table
from bequest.report.network import CKA, DISTANCE, MU, RANK, RISE, module_measures, network_charts

MODULES = ["stem", "body", "head"]


def rows_of_all(target="line"):
    runs = ["finetune/0", "finetune/1", "randinit/0", "randinit/1", "randinit/0b", "meanvar/0"]
    pairs = [
        ("finetune/0", "finetune/1"),
        ("randinit/0", "randinit/1"),
        ("P", "finetune/0"),
        ("randinit/0", "randinit/0b"),
    ]
    distance, cka, critical, spectrum = [], [], [], []
    for place, module in enumerate(MODULES):
        for scale, (a, b) in enumerate(pairs, 1):
            distance.append({"metric": "l2_relative", "a": a, "b": b, "module": module, "value": 0.1 * scale + place})
            same = {"a": a, "b": b, "module": module, "metric": "cka"}
            cka.append({**same, "module_b": module, "value": 1 - 0.1 * scale - 0.01 * place})
            cka.append({**same, "module_b": "other", "value": 9.0})
        for index, run in enumerate(runs):
            one = {"a": run, "module": module, "depth": place, "head": module == "head", "split": "train"}
            direct = {**one, "path": "direct", "end": "last"}
            critical.append(
                {**direct, "metric": "rewind_error", "value": 0.2 + 0.1 * place + 0.02 * index, "unit": "share"}
            )
            critical.append({**direct, "metric": "mu", "value": [0.0, 0.5, math.inf][place]})
            critical.append({**one, "path": "checkpoints", "end": "last", "metric": "mu", "value": 77.0})
            spectrum.append(
                {"a": run, "module": module, "of": "displacement", "metric": "effective_rank", "value": 4.0, "n": 8}
            )
            spectrum.append(
                {"a": run, "module": module, "of": "weights", "metric": "effective_rank", "value": 8.0, "n": 8}
            )
    distance.append({"metric": "l2_relative", "a": "P", "b": "finetune/0", "module": "*", "value": 5.0})
    finals = [
        {
            "a": run,
            "module": "*",
            "split": "train",
            "path": "direct",
            "end": "last",
            "metric": "final_error",
            "value": 0.1,
        }
        for run in runs
    ]
    found = {"distance": distance, "similarity": cka, "criticality": critical + finals, "spectrum": spectrum}
    return {name: table(name, rows).with_columns(target=pl.lit(target)) for name, rows in found.items()}


def value(rows, measure, module, models):
    (row,) = rows.filter(measure=measure, module=module, models=models).to_dicts()
    return row


def test_each_measure_is_the_mean_over_its_runs_or_pairs():
    rows = module_measures(rows_of_all(), "line")
    assert rows["measure"].unique(maintain_order=True).to_list() == [DISTANCE, CKA, RISE, MU, RANK]
    assert rows.filter(measure=RISE)["module"].unique(maintain_order=True).to_list() == MODULES
    assert set(rows["models"]) == {"finetune", "randinit", "P & finetune"}
    assert value(rows, DISTANCE, "body", "randinit")["value"] == pytest.approx(1.2)  # not the pair of one init
    assert value(rows, CKA, "head", "P & finetune")["value"] == pytest.approx(0.68)
    rise = value(rows, RISE, "head", "finetune")
    assert (rise["value"], rise["low"], rise["high"], rise["n"]) == (
        pytest.approx(0.31),
        *map(pytest.approx, (0.3, 0.32)),
        2,
    )
    assert [value(rows, MU, module, "finetune")["value"] for module in MODULES] == [0.0, 0.5, math.inf]
    assert value(rows, RANK, "stem", "randinit")["value"] == pytest.approx(0.5)


def test_the_picture_has_a_panel_a_measure_and_a_row_a_module():
    (chart,) = network_charts(rows_of_all(), ("line",))
    assert not chart.error and chart.spec is not None and chart.wide
    assert len(chart.spec["concat"]) == chart.spec["columns"] == 5
    for place, panel in enumerate(chart.spec["concat"]):
        y = panel["layer"][1]["encoding"]["y"]
        assert y["sort"] == MODULES and y["axis"]["labels"] == (place == 0)
    assert chart.rows is not None and chart.rows.height == 3 * 3 + 3 * 3 + 3 * 2 * 3


def test_one_measure_or_another_target_is_no_picture():
    rows = rows_of_all()
    assert network_charts({"distance": rows["distance"]}, ("line",)) == []
    assert network_charts(rows, ("mono",)) == []
    assert network_charts({}, ()) == []
    assert module_measures({}, None).is_empty()
