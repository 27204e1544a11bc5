import pytest
import torch

from bequest.weights.planes import basis, plane_point, plane_shares, plane_through, project


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(4, 3, generator=generator),
        "mean": torch.randn(5, generator=generator),
        "steps": torch.tensor(seed),
    }


CORNERS = [drawn(seed) for seed in range(3)]
NAMES = ["weight"]


def test_the_basis_is_orthonormal_and_spans_the_corners():
    plane = plane_through(*CORNERS, NAMES)
    u, v = basis(plane)
    assert set(u) == {"weight"}
    dots = [float((x["weight"] * y["weight"]).sum()) for x, y in ((u, u), (v, v), (u, v))]
    assert dots == pytest.approx([1, 1, 0], abs=1e-12)
    for corner, (x, y) in zip(CORNERS, plane.places, strict=True):
        built = CORNERS[0]["weight"].double() + x * u["weight"] + y * v["weight"]
        torch.testing.assert_close(built, corner["weight"].double(), rtol=1e-6, atol=1e-6)


def test_the_corners_are_given_bit_for_bit():
    plane = plane_through(*CORNERS, NAMES)
    for corner, place in zip(CORNERS, plane.places, strict=True):
        assert sorted(plane_shares(plane, *place)) == [0, 0, 1]
        assert all(torch.equal(tensor, corner[name]) for name, tensor in plane_point(plane, *place).items())


def test_coordinates_are_distances_and_projecting_a_point_gives_them_back():
    plane = plane_through(*CORNERS, NAMES)
    one, two = plane_point(plane, -1.0, 2.5), plane_point(plane, 2.0, -1.5)
    assert float((one["weight"] - two["weight"]).norm()) == pytest.approx(5, rel=1e-5)
    assert project(plane, one) == pytest.approx((-1.0, 2.5, 0.0), abs=1e-3)
    for corner, place in zip(CORNERS, plane.places, strict=True):
        assert project(plane, corner)[:2] == pytest.approx(place, abs=1e-6)
    torch.testing.assert_close(  # buffers go with the same shares
        one["mean"],
        sum(share * corner["mean"] for share, corner in zip(plane_shares(plane, -1.0, 2.5), CORNERS, strict=True)),
    )


def test_weights_off_the_plane_have_their_distance_from_it():
    plane = plane_through(*CORNERS, NAMES)
    u, v = basis(plane)
    off = torch.randn(4, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    for direction in (u, v):
        off -= (off * direction["weight"]).sum() * direction["weight"]
    moved = {**CORNERS[0], "weight": (plane_point(plane, 0.7, 0.4)["weight"] + 3 * off / off.norm()).float()}
    assert project(plane, moved) == pytest.approx((0.7, 0.4, 3.0), abs=1e-4)


def test_three_weights_on_one_line_are_refused():
    middle = {name: (CORNERS[0][name] + CORNERS[1][name]) / 2 for name in CORNERS[0]}
    with pytest.raises(ValueError, match="lie on one line"):
        plane_through(CORNERS[0], CORNERS[1], middle, NAMES)
    with pytest.raises(ValueError, match="lie on one line"):
        plane_through(CORNERS[0], CORNERS[0], CORNERS[1], NAMES)
    with pytest.raises(ValueError, match="different networks"):
        plane_through(CORNERS[0], CORNERS[1], {"weight": torch.ones(4, 3)})
