import math

import polars as pl
import pytest
import torch

from bequest.analyses.distance import chart, distance, distances, verdict
from bequest.weights.modules import Module

A = {
    "conv.weight": torch.zeros(4),
    "norm.weight": torch.zeros(2),
    "norm.running_mean": torch.zeros(2),
    "norm.num_batches_tracked": torch.tensor(0),
    "fc.weight": torch.ones(3, 3),
}
B = {
    "conv.weight": torch.tensor([2.0, 0.0, 0.0, 0.0]),
    "norm.weight": torch.tensor([2.0, 1.0]),
    "norm.running_mean": torch.full((2,), 100.0),
    "norm.num_batches_tracked": torch.tensor(9),
    "fc.weight": torch.ones(3, 3) + 4.0 * torch.eye(3),
}
MODULES = [
    Module("conv", ("conv.weight", "norm.weight"), ("norm.running_mean", "norm.num_batches_tracked")),
    Module("fc", ("fc.weight",)),
]


def test_known_distances_per_module_and_in_all():
    result = distance(A, B, modules=MODULES)
    assert result.value("l2", module="conv") == 3.0
    assert result.value("l2", module="fc") == pytest.approx(math.sqrt(48))
    assert result.value("l2", module="*") == pytest.approx(math.sqrt(57))
    assert result.value("l2_sum") == pytest.approx(3 + math.sqrt(48))
    assert result.value("l2_per_sqrt_n", module="conv") == pytest.approx(3 / math.sqrt(6))
    assert result.value("l2_relative", module="fc") == pytest.approx(math.sqrt(48) / 3)
    assert result.select("l2")["module"].to_list() == ["*", "conv", "fc"]
    assert result.select("l2", module="*")["n"].to_list() == [15]
    assert result.select("l2_relative", module="conv")["value"].to_list() == [None]  # it started at zero
    assert result.select("cosine").is_empty()


def test_without_modules_tensors_are_grouped_by_their_path_and_statistics_stay_out():
    result = distance(A, B)
    assert result.select("l2")["module"].to_list() == ["*", "conv", "norm", "fc"]
    assert result.value("l2", module="norm") == pytest.approx(math.sqrt(5))
    assert result.value("l2", module="*") == pytest.approx(math.sqrt(57))


def test_tensors_outside_the_modules_are_not_dropped():
    assert distance(A, B, modules=MODULES[:1]).value("l2", module="*") == pytest.approx(math.sqrt(57))


def test_distance_has_no_direction_and_small_changes_survive_large_weights():
    assert distance(A, B).value("l2", module="*") == distance(B, A).value("l2", module="*")
    big = {"w.weight": torch.full((1000,), 1e4)}
    near = {"w.weight": big["w.weight"] + 2**-6}
    assert distance(big, near).value("l2", module="*") == pytest.approx(2**-6 * math.sqrt(1000), rel=1e-12)


def test_tied_tensors_count_once():
    shared, other = torch.zeros(4), torch.ones(4)
    a, b = {"first.weight": shared, "second.weight": shared}, {"first.weight": other, "second.weight": other}
    assert distance(a, b).value("l2", module="*") == 2.0
    assert distance(a, b, modules=[Module("first", ("first.weight",))]).value("l2", module="*") == 2.0


def test_displacements_from_their_own_starts():
    start = {"x": {"w.weight": torch.tensor([1.0, 0.0])}, "y": {"w.weight": torch.tensor([0.0, 5.0])}}
    ends = {"x": {"w.weight": torch.tensor([4.0, 0.0])}, "y": {"w.weight": torch.tensor([2.0, 7.0])}}
    result = distances(ends, initial=start)
    assert result.value("cosine", module="*") == pytest.approx(math.sqrt(0.5))
    assert result.value("l2_from_start", a="x", module="w") == 3.0
    assert result.value("l2_from_start", a="y", module="*") == pytest.approx(math.sqrt(8))
    # relative to the root mean square of both starts' norms
    assert result.value("l2_relative", module="*") == pytest.approx(math.sqrt(53) / math.sqrt((1 + 25) / 2))


def test_a_run_that_did_not_move_has_no_direction():
    start = {name: A for name in ("x", "y")}
    result = distances({"x": A, "y": B}, initial=start)
    assert result.select("cosine", module="*")["value"].to_list() == [None]
    assert result.value("l2", module="*") == pytest.approx(result.value("l2_from_start", a="y", module="*"))


def test_another_head_is_left_out_and_said_so():
    other = B | {"fc.weight": torch.ones(10, 3)}
    result = distance(A, other)
    assert result.value("l2", module="*") == 3.0
    assert result.select("l2", module="fc").is_empty()
    assert "fc.weight" in result.select("l2", module="*")["note"][0]


def test_different_networks_are_refused():
    with pytest.raises(ValueError, match="different networks: 2 tensors"):
        distance(A, B | {"fc.weight": torch.ones(10, 3), "conv.weight": torch.ones(7)})
    with pytest.raises(ValueError, match="different networks"):
        distance({"w": torch.ones(3)}, {"w": torch.ones(4)})
    with pytest.raises(ValueError, match="needs two"):
        distances({"a": A})
    with pytest.raises(ValueError, match=r"start of 'x' does not fit it: conv\.weight"):
        distances({"x": A, "y": B}, initial={"x": {"fc.weight": A["fc.weight"]}})


def study(step_tuned, step_random, replicas=3, seed=0, together=1.0, **training):
    """Replicas that walk a given length, in part together, from one pretrained start, or from inits of their own."""
    generator = torch.Generator().manual_seed(seed)

    def draw(scale):
        return {f"m{k}.weight": scale * torch.randn(50, generator=generator) for k in range(4)}

    pretrained, shared, weights, initial = draw(1.0), draw(together), {}, {}
    for arm, step in (("finetune", step_tuned), ("randinit", step_random)):
        for k in range(replicas):
            start = pretrained if arm == "finetune" else draw(1.0)
            start = start | {"head.weight": 0.1 * torch.randn(6, generator=generator)}  # fresh in each run
            move = draw(step) | {"head.weight": step * torch.randn(6, generator=generator)}
            if arm == "finetune":
                move |= {name: move[name] + step * shared[name] for name in shared}
            initial[f"{arm}/{k}"] = start
            weights[f"{arm}/{k}"] = {name: start[name] + move[name] for name in start}
    training = {"errors": dict.fromkeys(weights, 0.1), "chance": 0.1} | training
    return distances({"P": pretrained, **weights}, initial=initial, **training)


def test_claim_holds_where_fine_tuned_models_moved_together():
    result = study(0.1, 0.1)
    (judged,) = result.verdict
    assert (judged.claim, judged.status, judged.n) == ("C6", "holds", 3)
    assert judged.low is not None and judged.low > 1
    for words in ("times as far apart", "Rank correlation", "The moves without the head have cosine"):
        assert words in judged.sentence
    assert 0.3 < result.select("cosine_from_one_start")["value"].mean() < 0.7  # half of what they moved is shared
    assert result.select("cosine_from_one_start").select("a", "note").row(0) == (
        "finetune/0",
        "without head: it started apart",
    )
    assert result.select("cosine_from_one_start").height == 3  # no pair of random inits has one start


def test_a_short_way_from_one_start_is_not_enough():
    (judged,) = study(0.01, 0.1, together=0.0).verdict
    assert judged.status == "holds under conditions"
    assert judged.low is not None and judged.low > 1 and "independent moves from one start" in judged.sentence


def test_where_they_started_has_to_be_known():
    rows = study(0.1, 0.1).rows.filter(~pl.col("metric").str.starts_with("cosine"))
    (judged,) = verdict(rows)
    assert judged.status == "holds under conditions" and "started is not known" in judged.sentence


def test_models_that_never_trained_are_not_judged_to_be_near():
    wrong = {f"{arm}/{k}": 0.9 for arm in ("finetune", "randinit") for k in range(3)}
    result = study(0.001, 0.001, errors=wrong)
    (judged,) = result.verdict
    assert judged.status == "inconclusive" and "finetune is hardly better than chance" in judged.sentence
    assert result.value("final_error", a="finetune/1", split="train") == 0.9
    (judged,) = study(0.1, 0.1, errors=None).verdict
    assert judged.status == "holds under conditions" and "train errors were not given" in judged.sentence


def test_the_cosine_from_one_start_is_the_ratio_of_distances():
    result = study(0.1, 0.1)
    rows = result.rows.filter(pl.col("module") != "head")  # over the body alone, from the rows of its modules

    def squared(metric, a, b=None):
        chosen = rows.filter(pl.col("b").eq_missing(b), pl.col("module") != "*", metric=metric, a=a)
        return chosen["value"].pow(2).sum()

    moved = [squared("l2_from_start", f"finetune/{k}") for k in range(2)]
    dot = (sum(moved) - squared("l2", "finetune/0", "finetune/1")) / 2
    found = result.value("cosine_from_one_start", a="finetune/0", b="finetune/1")
    assert found == pytest.approx(dot / math.sqrt(moved[0] * moved[1]), abs=1e-6)


def test_claim_does_not_hold_where_fine_tuning_went_farther():
    (judged,) = study(30.0, 0.1).verdict
    assert judged.status == "does not hold"


def test_two_replicas_are_too_few_and_one_arm_says_nothing():
    assert study(0.1, 0.1, replicas=2).verdict[0].status == "inconclusive"
    assert distance(A, B).verdict == ()


def test_targets_are_judged_apart_and_drawn():
    near, far = study(0.1, 0.1).rows, study(30.0, 0.1, seed=1).rows
    rows = pl.concat([near.with_columns(target=pl.lit("near")), far.with_columns(target=pl.lit("far"))])
    (judged,) = verdict(rows)
    assert judged.status == "holds under conditions"
    assert [part.target for part in judged.parts] == ["near", "far"]
    assert len(chart(rows).to_dict()["concat"]) == 2
    drawn = chart(near).to_dict()
    assert drawn["width"] == "container" and drawn["layer"][0]["encoding"]["x"]["sort"] == [
        "m0",
        "m1",
        "m2",
        "m3",
        "head",
    ]
