import math
from itertools import pairwise

import pytest
import torch

from bequest.weights.algebra import lerp
from bequest.weights.paths import gram, path_length, path_point, path_shares, straight_controls


def drawn(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(4, 3, generator=generator).to(dtype),
        "bias": torch.randn(5, generator=generator).to(dtype),
        "steps": torch.tensor(seed),
    }


def flat(weights):
    return torch.cat([weights[name].double().flatten() for name in ("weight", "bias")])


@pytest.mark.parametrize("kind", ["bezier", "chain"])
@pytest.mark.parametrize("bends", [1, 2, 3])
def test_the_ends_are_given_bit_for_bit_and_are_copies(kind, bends):
    controls = [drawn(seed) for seed in range(bends + 2)]
    controls[1]["weight"].fill_(float("inf"))  # a share of 0 must not turn this into NaN
    for t, end in ((0.0, controls[0]), (1.0, controls[-1])):
        point = path_point(kind, controls, t)
        assert all(torch.equal(point[name], tensor) for name, tensor in end.items())
        assert all(point[name].data_ptr() != tensor.data_ptr() for name, tensor in end.items())


@pytest.mark.parametrize("kind", ["bezier", "chain"])
@pytest.mark.parametrize("bends", [1, 2, 5])
def test_through_controls_on_the_chord_it_is_the_straight_line(kind, bends):
    a, b = drawn(0), drawn(1)
    controls = straight_controls(a, b, bends)
    assert controls[0] is a and controls[-1] is b
    for t in (0.0, 0.25, 0.5, 0.8, 1.0):
        torch.testing.assert_close(flat(path_point(kind, controls, t)), flat(lerp(a, b, t)), rtol=1e-6, atol=1e-6)
    chord = float((flat(a) - flat(b)).norm())
    assert path_length(kind, gram(controls)) == pytest.approx(chord, rel=1e-6)


def test_the_shares_are_those_of_the_formulas():
    t = 0.3
    assert path_shares("bezier", 3, t) == pytest.approx(((1 - t) ** 2, 2 * t * (1 - t), t * t))
    assert path_shares("chain", 3, t) == pytest.approx((0.4, 0.6, 0.0))
    assert path_shares("chain", 3, 0.5) == (0.0, 1.0, 0.0)
    for kind in ("bezier", "chain"):
        for controls in (2, 3, 5):
            assert all(sum(path_shares(kind, controls, t)) == pytest.approx(1) for t in (0.1, 0.5, 0.93))


def test_a_point_is_the_mix_of_the_controls():
    controls = [drawn(seed) for seed in range(3)]
    wanted = sum(share * flat(control) for share, control in zip((0.49, 0.42, 0.09), controls, strict=True))
    torch.testing.assert_close(flat(path_point("bezier", controls, 0.3)), wanted, rtol=1e-6, atol=1e-6)
    assert int(path_point("bezier", controls, 0.3)["steps"]) == 0


def test_lengths_are_those_of_many_small_steps():
    controls = [drawn(seed, torch.float64) for seed in range(4)]
    for kind in ("bezier", "chain"):
        ts = [k / 3000 for k in range(3001)]
        points = [flat(path_point(kind, controls, t)) for t in ts]
        steps = sum(float((b - a).norm()) for a, b in pairwise(points))
        assert path_length(kind, gram(controls)) == pytest.approx(steps, rel=1e-5)


def test_a_parabola_has_its_known_length():
    controls = [{"w": torch.tensor(point)} for point in ([0.0, 0.0], [0.5, 0.0], [1.0, 1.0])]  # y = x squared
    wanted = math.sqrt(5) / 2 + math.asinh(2) / 4
    assert path_length("bezier", gram(controls)) == pytest.approx(wanted, rel=1e-9)


def test_inner_products_give_distances_of_mixes():
    members = [drawn(seed) for seed in range(3)]
    p, q = torch.tensor([0.2, 0.5, 0.3]).double(), torch.tensor([-0.4, 0.6, 0.8]).double()
    apart = sum(float(x - y) * flat(member) for x, y, member in zip(p, q, members, strict=True))
    inner = gram(members)
    assert float((p - q) @ inner @ (p - q)) == pytest.approx(float(apart @ apart), rel=1e-5)
    assert float(gram(members, ["bias"])[1, 1]) == pytest.approx(
        float((members[1]["bias"] - members[0]["bias"]).double().square().sum())
    )


def test_what_is_no_path_is_refused():
    with pytest.raises(ValueError, match=r"from t = 0 to t = 1; got 1\.5"):
        path_shares("bezier", 3, 1.5)
    with pytest.raises(ValueError, match="no path of kind 'spline'; known: bezier, chain"):
        path_shares("spline", 3, 0.5)
    with pytest.raises(ValueError, match="two ends; got 1"):
        path_shares("chain", 1, 0.5)
    with pytest.raises(ValueError, match="at least 1 control"):
        straight_controls(drawn(0), drawn(1), 0)
    with pytest.raises(ValueError, match="different networks"):
        straight_controls(drawn(0), {"weight": torch.ones(4, 3)}, 1)
