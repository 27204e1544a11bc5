import pytest
import torch

from bequest.weights.symmetry import Group, Place, Symmetry, channel_rows, permute

SYMMETRY = Symmetry((Group("a", 3, (Place("a", 0), Place("b", 1, 1, 2))),))


def weights():
    return {"a": torch.tensor([10.0, 20.0, 30.0]), "b": torch.arange(8.0)[None], "steps": torch.tensor(5)}


def test_the_new_channel_i_is_the_old_channel_p_of_i_with_all_its_entries():
    given = weights()
    moved = permute(given, SYMMETRY, {"a": torch.tensor([2, 0, 1])})
    assert moved["a"].tolist() == [30, 10, 20]
    assert moved["b"].tolist() == [[0, 5, 6, 1, 2, 3, 4, 7]]
    assert moved["steps"] is not given["steps"] and given["a"].tolist() == [10, 20, 30]


def test_a_permutation_is_undone_by_its_inverse_and_two_are_one():
    generator = torch.Generator().manual_seed(0)
    p, q = (SYMMETRY.draw(generator)["a"] for _ in range(2))
    once = permute(weights(), SYMMETRY, {"a": p})
    assert all(torch.equal(x, weights()[name]) for name, x in permute(once, SYMMETRY, {"a": p.argsort()}).items())
    both = permute(weights(), SYMMETRY, {"a": p[q]})
    assert all(torch.equal(x, both[name]) for name, x in permute(once, SYMMETRY, {"a": q}).items())
    same = permute(weights(), SYMMETRY, SYMMETRY.identity())
    assert all(torch.equal(x, same[name]) for name, x in weights().items())


def test_rows_hold_all_entries_of_a_channel():
    rows = channel_rows(torch.arange(16.0).reshape(2, 8), Place("b", 1, 1, 2), 3)
    assert rows.tolist() == [[1, 9, 2, 10], [3, 11, 4, 12], [5, 13, 6, 14]]


@pytest.mark.parametrize(
    ("change", "orders", "message"),
    [
        ({}, {"a": torch.tensor([0, 0, 1])}, "not a permutation of 3 channels"),
        ({}, {"a": torch.arange(4)}, "not a permutation of 3 channels"),
        ({}, {"c": torch.arange(3)}, "no group 'c'"),
        ({"b": torch.zeros(1, 6)}, {}, r"b is \(1, 6\), but axis 1 should hold at least 7"),
        ({"b": torch.zeros(8)}, {}, "axis 1"),
    ],
)
def test_what_does_not_fit_is_refused(change, orders, message):
    with pytest.raises(ValueError, match=message):
        permute(weights() | change, SYMMETRY, orders)


def test_a_missing_tensor_is_named():
    with pytest.raises(ValueError, match="have no b,"):
        permute({"a": torch.zeros(3)}, SYMMETRY, {})
