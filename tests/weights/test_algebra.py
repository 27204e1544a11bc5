import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bequest.weights.algebra import (
    check_alike,
    combine,
    cosine_between,
    lerp,
    mean,
    mixable,
    squared_distance,
    squared_norm,
)

SEEDS = st.integers(0, 2**31 - 1)
DTYPES = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])


def draw(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "conv": torch.randn(4, 3, 2, generator=generator).to(dtype),
        "scalar": torch.randn((), generator=generator).to(dtype),
        "counter": torch.randint(0, 9, (2,), generator=generator),
        "mask": torch.rand(3, generator=generator) > 0.5,
    }


@given(SEEDS, SEEDS, st.floats(-0.5, 1.5))
def test_a_line_is_the_same_from_both_ends(first: int, second: int, t: float) -> None:
    a, b = draw(first), draw(second)
    forth, back = lerp(a, b, t), lerp(b, a, 1 - t)
    for name in ("conv", "scalar"):
        torch.testing.assert_close(forth[name], back[name], rtol=1e-5, atol=1e-5)


@given(SEEDS, SEEDS, DTYPES)
def test_the_ends_are_exact_and_new(first: int, second: int, dtype: torch.dtype) -> None:
    a, b = draw(first, dtype), draw(second, dtype)
    for t, end in ((0, a), (1, b), (0.0, a), (1.0, b)):
        point = lerp(a, b, t)
        for name in ("conv", "scalar"):
            assert torch.equal(point[name], end[name])
            assert point[name].data_ptr() != end[name].data_ptr()
            assert point[name].dtype == dtype


@given(SEEDS, SEEDS, st.floats(-0.5, 1.5))
def test_counters_and_masks_come_from_the_first(first: int, second: int, t: float) -> None:
    a, b = draw(first), draw(second)
    for name in ("counter", "mask"):
        assert torch.equal(lerp(a, b, t)[name], a[name])
        assert lerp(a, b, t)[name].data_ptr() != a[name].data_ptr()
        assert torch.equal(mean([a, b])[name], a[name])


@given(SEEDS, st.floats(0, 1))
def test_arguments_stay_as_they_were(seed: int, t: float) -> None:
    for dtype in (torch.float32, torch.float64):
        a, b = draw(seed, dtype), draw(seed + 1, dtype)
        lerp(a, b, t), mean([a, b]), squared_norm(a), squared_distance(a, b), cosine_between(a, b, a)
        for now, then in ((a, draw(seed, dtype)), (b, draw(seed + 1, dtype))):
            assert all(torch.equal(now[name], then[name]) for name in then)


@given(SEEDS, SEEDS, st.floats(0.01, 0.99), st.sampled_from([torch.bfloat16, torch.float16]))
@settings(max_examples=50)
def test_halves_are_mixed_in_float32_and_rounded_once(first: int, second: int, t: float, dtype: torch.dtype) -> None:
    a, b = draw(first, dtype), draw(second, dtype)
    wide = lerp({"conv": a["conv"].float()}, {"conv": b["conv"].float()}, t)["conv"]
    assert torch.equal(lerp(a, b, t)["conv"], wide.to(dtype))


def test_a_mean_in_bf16_does_not_lose_the_small_share() -> None:
    # 256 + 1 is 256 in bf16: a sum that runs in bf16 would give 256 / 2 = 128, the right mean 128.5 rounds to 128
    members = [{"w": torch.tensor([256.0], dtype=torch.bfloat16)}, *[{"w": torch.ones(1, dtype=torch.bfloat16)}] * 255]
    assert mean(members)["w"].item() == pytest.approx((256 + 255) / 256, rel=2**-8)


def test_dtype_is_that_of_the_first_at_every_point() -> None:
    a, b = draw(0, torch.float32), draw(1, torch.bfloat16)
    assert {lerp(a, b, t)["conv"].dtype for t in (0, 0.3, 1)} == {torch.float32}


@given(SEEDS, st.lists(st.floats(-2, 2), min_size=1, max_size=4))
def test_combine_is_the_weighted_sum(seed: int, shares: list[float]) -> None:
    members = [draw(seed + i, torch.float64) for i in range(len(shares))]
    expected = sum(share * member["conv"] for share, member in zip(shares, members, strict=True))
    torch.testing.assert_close(combine(members, shares)["conv"], expected, rtol=1e-12, atol=1e-12)


def test_known_norms_distances_and_angles() -> None:
    zero = {"w": torch.zeros(2), "v": torch.zeros(1), "n": torch.tensor([5])}
    x = {"w": torch.tensor([3.0, 4.0]), "v": torch.zeros(1), "n": torch.tensor([9])}
    y = {"w": torch.tensor([-4.0, 3.0]), "v": torch.zeros(1), "n": torch.tensor([0])}
    assert squared_norm(x) == 25
    assert squared_distance(x, zero) == 25
    assert squared_distance(x, y) == 50
    assert squared_distance(x, y, ["v"]) == 0
    assert cosine_between(zero, x, y) == 0
    assert cosine_between(zero, x, x) == 1
    assert cosine_between(zero, x, {name: -tensor for name, tensor in x.items()}) == -1
    assert cosine_between(x, zero, y) == pytest.approx(math.sqrt(0.5))  # a right isosceles triangle
    assert math.isnan(cosine_between(zero, x, zero))


def test_sums_run_in_float64() -> None:
    far = {"w": torch.full((1000,), 1e4)}
    near = {"w": torch.full((1000,), 1e4 + 2**-10)}  # one step of float32 there
    assert squared_distance(far, near) == 1000 * 2.0**-20
    # 1 + 2^-30 needs more than the 24 bits of float32
    assert squared_norm({"w": torch.tensor([1.0, 2.0**-15])}) == 1 + 2.0**-30


def test_complex_tensors_count_with_both_parts() -> None:
    a, b = {"w": torch.tensor([3 + 4j])}, {"w": torch.tensor([0j])}
    assert mixable(a["w"])
    assert squared_norm(a) == squared_distance(a, b) == 25
    assert cosine_between(b, a, {"w": torch.tensor([4 - 3j])}) == 0
    assert lerp(a, b, 0.5)["w"].item() == 1.5 + 2j


def test_weights_of_other_networks_are_refused_by_name() -> None:
    a = {"conv": torch.zeros(2, 3), "fc": torch.zeros(4)}
    with pytest.raises(ValueError, match=r"1 tensors are only in the first \(fc\), 1 only in the second \(head\)"):
        check_alike(a, {"conv": torch.zeros(2, 3), "head": torch.zeros(4)})
    with pytest.raises(ValueError, match=r"fc is \(4,\) in the first and \(1,\) in the second"):
        lerp(a, {"conv": torch.zeros(2, 3), "fc": torch.zeros(1)}, 0.5)


def test_distances_never_broadcast() -> None:
    a, b = {"fc": torch.ones(4)}, {"fc": torch.ones(1)}
    with pytest.raises(ValueError, match="different networks"):
        squared_distance(a, b)
    with pytest.raises(ValueError, match=r"fc is \(4,\) in one .* \(1,\) in the other; leave it out"):
        squared_distance(a, b, ["fc"])
    with pytest.raises(ValueError, match="conv is missing"):
        squared_distance(a, b, ["conv"])


def test_combine_needs_members_and_as_many_shares() -> None:
    with pytest.raises(ValueError, match="0 members"):
        mean_of_none: list[dict[str, Tensor]] = []
        combine(mean_of_none, [])
    with pytest.raises(ValueError, match="got 2"):
        combine([draw(0)], [0.5, 0.5])
