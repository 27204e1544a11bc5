"""Counts and sums agree with a plain twin, in pieces or not, for every type of numbers."""

import math

import pytest
import torch

from bequest.evaluation.tally import added, pieces, tally


def pair(dtype, count=1000):
    stream = torch.Generator().manual_seed(0)
    start = torch.randn(count, generator=stream, dtype=torch.float64)
    a, b = start.clone(), start.clone()
    a[:700] += 0.1 * torch.randn(700, generator=stream, dtype=torch.float64)
    b[300:] += 0.1 * torch.randn(700, generator=stream, dtype=torch.float64)
    a[:50] = start[:50] * (1 + 3e-7)  # a few steps of float32, none of 16 bits
    return {name: {"w": value.to(dtype)} for name, value in (("P", start), ("a", a), ("b", b))}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_plain_twin_gives_the_same(dtype):
    members = pair(dtype)
    found = tally(members, "w", start="P")
    start, a, b = (members[name]["w"].double() for name in ("P", "a", "b"))
    near = (a - start).abs() <= 1e-6 * start.abs()
    assert found["entries",] == 1000
    summed = 1e-12 if dtype == torch.float64 else 1e-7  # in float32 within a run
    assert found["square", "P"] == pytest.approx(float(start.square().sum()), rel=summed)
    for name, value in (("a", a), ("b", b)):
        assert found["apart", "P", name] == pytest.approx(float((value - start).square().sum()), rel=1e-6)
        assert found["same", "P", name] == int((value == start).sum())
    assert found["near", "P", "a"] == int(near.sum())
    assert found["dot", "a", "b"] == pytest.approx(float(((a - start) * (b - start)).sum()), rel=1e-5)
    both = (a != start) & (b != start)
    assert found["both", "a", "b"] == int(both.sum())
    assert found["agree", "a", "b"] == int((both & ((a > start) == (b > start))).sum())
    if dtype in (torch.float32, torch.float64):
        assert found["near", "P", "a"] > found["same", "P", "a"]


def test_a_sum_over_many_pieces_is_that_of_the_whole():
    stream = torch.Generator().manual_seed(0)
    weights = {name: {"w": torch.randn(400, 500, generator=stream)} for name in "ab"}
    a, b = (weights[name]["w"].double() for name in "ab")
    found = tally(weights, "w")
    assert found["entries",] == 200_000
    assert found["apart", "a", "b"] == pytest.approx(float((a - b).square().sum()), rel=1e-7)
    assert [len(part) for part in pieces(weights["a"], "w", 150_000)] == [150_000, 50_000]


def test_mixed_types_are_compared_as_the_wider_one():
    exact = {"a": {"w": torch.tensor([1.0, 1.001])}, "b": {"w": torch.tensor([1.0, 1.001]).bfloat16()}}
    found = tally(exact, "w")
    assert found["same", "a", "b"] == 1
    assert found["apart", "a", "b"] == pytest.approx((1.001 - 1.0) ** 2, rel=1e-3)  # 1.001 is 1 in bfloat16


def test_the_order_of_the_start_and_the_others_changes_no_sign():
    members = pair(torch.float32)
    first, last = (
        tally({name: members[name] for name in names}, "w", start="P")
        for names in (
            "Pab",
            "abP",
        )
    )
    middle = tally({name: members[name] for name in "aPb"}, "w", start="P")
    for key in (("dot", "a", "b"), ("both", "a", "b"), ("agree", "a", "b")):
        assert first[key] == last[key] == middle[key]


def test_a_difference_too_small_for_its_square_is_still_one():
    close = {"a": {"w": torch.tensor([1e-30, 1.0])}, "b": {"w": torch.tensor([2e-30, 1.0])}}
    assert tally(close, "w")["same", "a", "b"] == 1


@pytest.mark.parametrize("size", [1e-30, 1e-22, 1e20])
def test_numbers_whose_squares_float32_cannot_hold(size):
    stream = torch.Generator().manual_seed(0)
    a, b = (size * torch.randn(70_000, generator=stream) for _ in "ab")
    found = tally({"a": {"w": a}, "b": {"w": b}}, "w")
    assert found["square", "a"] == pytest.approx(float(a.double().square().sum()), rel=1e-6)
    assert found["apart", "a", "b"] == pytest.approx(float((b - a).double().square().sum()), rel=1e-6)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_is_named_with_its_tensor(wrong):
    weights = {"a": {"w": torch.ones(3)}, "b": {"w": torch.tensor([1.0, wrong, 1.0])}}
    with pytest.raises(ValueError, match="w of 'b' has entries that are not finite"):
        tally(weights, "w")


def test_tallies_add_up():
    assert added([{("entries",): 2.0}, {("entries",): 3.0, ("same", "a", "b"): 1.0}]) == {
        ("entries",): 5.0,
        ("same", "a", "b"): 1.0,
    }
