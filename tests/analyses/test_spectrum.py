import math

import numpy as np
import polars as pl
import pytest
import torch

from bequest.analyses.spectrum import chart, spectrum
from bequest.models.opening import open_model
from bequest.models.order import modules
from bequest.weights.modules import Module


def matrix(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotation(n, seed=1):
    return torch.linalg.qr(matrix(n, n, seed=seed).double()).Q


def weights(seed, head=5):
    return {
        "conv.weight": matrix(6, 2, 3, 3, seed=seed),
        "norm.weight": matrix(6, seed=seed),
        "norm.num_batches_tracked": torch.tensor(3),
        "fc.weight": matrix(head, 8, seed=seed + 50),
        "fc.bias": matrix(head, seed=seed),
    }


def test_values_ranks_and_overlaps_equal_those_of_numpy():
    runs = {"finetune/0": weights(0), "finetune/1": weights(1)}
    starts = {"finetune/0": weights(2), "finetune/1": weights(3)}
    result = spectrum(runs, initial=starts, top=2)
    for of in ("weights", "displacement"):
        for tensor, dimension in (("conv.weight", 18), ("fc.weight", 8)):
            bases = []
            for name in runs:
                given = runs[name][tensor] - (starts[name][tensor] if of == "displacement" else 0)
                u, s, v = np.linalg.svd(given.flatten(1).double().numpy(), full_matrices=False)
                where = {"a": name, "tensor": tensor, "of": of}
                np.testing.assert_allclose(result.arrays[f"{name}/{of}/{tensor}"].numpy(), s, rtol=1e-5)
                assert result.value("stable_rank", **where) == pytest.approx((s**2).sum() / s[0] ** 2, rel=1e-5)
                shares = s / s.sum()
                entropy = -(shares * np.log(shares)).sum()
                assert result.value("effective_rank", **where) == pytest.approx(math.exp(entropy), rel=1e-5)
                assert result.value("spectral_norm", **where) == pytest.approx(s[0], rel=1e-5)
                bases.append((u[:, :2], v[:2].T))
            for side, metric in enumerate(("overlap_left", "overlap_right")):
                row = result.select(metric, tensor=tensor, of=of).row(0, named=True)
                cosines = np.linalg.svd(bases[0][side].T @ bases[1][side])[1]
                assert row["value"] == pytest.approx((cosines**2).mean(), rel=1e-4)
                assert (row["a"], row["b"], row["x"]) == ("finetune/0", "finetune/1", 2)
            assert row["expected"] == 2 / dimension
    assert set(result.rows["tensor"]) == {"conv.weight", "fc.weight"}
    assert result.verdict == ()


def test_a_displacement_of_known_rank_and_direction():
    start = {"w.weight": rotation(8)}
    u, v = rotation(8, 2), rotation(8, 3)
    ends = {
        "a/0": {"w.weight": start["w.weight"] + 3 * u[:, :2] @ v[:, :2].T},
        "a/1": {"w.weight": start["w.weight"] + 7 * u[:, :2] @ v[:, 4:6].T},
    }
    result = spectrum(ends, initial=dict.fromkeys(ends, start))
    moved = {"of": "displacement", "a": "a/0"}
    assert result.value("stable_rank", **moved) == pytest.approx(2)
    assert result.value("effective_rank", **moved) == pytest.approx(2)
    assert result.value("spectral_norm", **moved) == pytest.approx(3)
    assert result.value("overlap_left", of="displacement") == pytest.approx(1)
    assert result.value("overlap_right", of="displacement") == pytest.approx(0, abs=1e-12)
    assert result.select("overlap_left", of="displacement")["x"].to_list() == [2]  # there are no more directions


def test_a_rotation_of_the_outputs_keeps_the_inputs_side():
    given = matrix(8, 12).double()
    result = spectrum({"a": {"w": given}, "b": {"w": rotation(8) @ given}}, top=3)
    assert result.value("overlap_right") == pytest.approx(1)
    assert result.value("overlap_left") < 0.9
    assert result.value("stable_rank", a="a") == pytest.approx(result.value("stable_rank", a="b"))


def test_random_matrices_overlap_as_expected():
    runs = {f"r/{i}": {"w": matrix(20, 30, seed=i)} for i in range(12)}
    pairs = spectrum(runs, top=4).select("overlap_right")
    assert pairs.height == 66
    assert pairs["value"].mean() == pytest.approx(4 / 30, abs=0.03)
    assert pairs["expected"].unique().to_list() == [4 / 30]


def test_what_did_not_move_has_no_rank_and_no_overlap():
    result = spectrum({"a": weights(0), "b": weights(1)}, initial={"a": weights(0), "b": weights(2)})
    assert result.select("stable_rank", a="a", of="displacement")["value"].to_list() == [None, None]
    assert result.select("spectral_norm", a="a", of="displacement")["value"].to_list() == [0, 0]
    assert result.select("overlap_left", of="displacement").is_empty()
    assert result.select("overlap_left", of="weights").height == 2


def test_heads_of_other_shapes_are_left_out_of_the_pair_alone():
    result = spectrum({"P": weights(0, head=9), "finetune/0": weights(1)})
    assert result.select("overlap_left")["tensor"].to_list() == ["conv.weight"]
    assert result.select("stable_rank", tensor="fc.weight")["a"].to_list() == ["P", "finetune/0"]
    single = spectrum({"P": weights(0, head=1), "finetune/0": weights(1)})
    assert single.select("stable_rank", tensor="fc.weight")["a"].to_list() == ["finetune/0"]


def test_modules_give_order_and_names_on_a_network():
    model = open_model("resnet8", classes=4, seed=0)
    units = modules(model, torch.zeros(2, 3, 32, 32))
    result = spectrum({"P": model.state_dict()}, modules=units)
    assert result.rows["module"].unique(maintain_order=True).to_list() == [unit.name for unit in units]
    convolutions = [name for name, tensor in model.state_dict().items() if tensor.dim() > 1]
    assert set(result.rows["tensor"]) == set(convolutions)
    reordered = spectrum({"P": weights(0)}, modules=[Module("head", ("fc.weight",)), Module("stem", ("conv.weight",))])
    assert reordered.select("stable_rank").select("module", "tensor").rows() == [
        ("head", "fc.weight"),
        ("stem", "conv.weight"),
    ]
    buffer = {"w.weight": matrix(4, 4), "w.table": matrix(4, 4)}
    kept = spectrum({"a": buffer}, modules=[Module("w", ("w.weight",), ("w.table",))])
    assert kept.rows["tensor"].unique().to_list() == ["w.weight"]


def test_chart_shows_displacements_where_there_are_any():
    runs = {"finetune/0": weights(0), "finetune/1": weights(1), "randinit/0": weights(4)}
    drawn = spectrum(runs, initial={name: weights(9) for name in runs}).chart().to_dict()
    assert len(drawn["concat"]) == 2
    found = list(drawn["datasets"].values())
    assert {row["arm"] for row in found[0]} == {"finetune", "randinit"}
    assert {row["kind"] for row in found[1]} == {"finetune & finetune", "finetune & randinit"}
    alone = spectrum({"mine": weights(0)})
    assert "effective rank of the weights" in alone.chart().to_json()
    assert len(alone.chart().to_dict()["concat"]) == 1
    both = pl.concat([alone.rows.with_columns(target=pl.lit(name)) for name in ("l", "m")])
    assert [pane["title"] for pane in chart(both).to_dict()["concat"]] == ["l", "m"]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one set"):
        spectrum({})
    with pytest.raises(ValueError, match="at least one direction"):
        spectrum({"a": weights(0)}, top=0)
    with pytest.raises(ValueError, match="only vectors"):
        spectrum({"a": {"bias": matrix(4)}})
    with pytest.raises(ValueError, match=r"start of 'a' does not fit it: fc\.weight"):
        spectrum({"a": weights(0)}, initial={"a": weights(0, head=7)})
    broken = {"w": torch.full((3, 3), math.inf)}
    with pytest.raises(ValueError, match="w of 'a': the matrix has entries that are not finite"):
        spectrum({"a": broken})
