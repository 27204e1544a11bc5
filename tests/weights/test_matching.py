from itertools import pairwise, permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from bequest.weights.matching import weight_matching
from bequest.weights.symmetry import Group, Place, Symmetry, permute


def assign(scores):
    return torch.from_numpy(linear_sum_assignment(scores.double().numpy(), maximize=True)[1])


def network(sizes, seed):
    """A perceptron with biases and statistics."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        weights[f"{index}.weight"] = torch.randn(outputs, inputs, generator=generator)
        weights[f"{index}.bias"] = torch.randn(outputs, generator=generator)
        weights[f"{index}.mean"] = 100 * torch.randn(outputs, generator=generator)
    return weights


def symmetry(sizes):
    groups = [
        Group(
            f"{i}.weight",
            size,
            (*(Place(f"{i}.{k}", 0) for k in ("weight", "bias", "mean")), Place(f"{i + 1}.weight", 1)),
        )
        for i, size in enumerate(sizes[1:-1])
    ]
    return Symmetry(tuple(groups), frozenset(f"{i}.mean" for i in range(len(sizes))))


def recurrent(n, seed):
    """One matrix with the same channels on both axes: the problem is quadratic."""
    generator = torch.Generator().manual_seed(seed)
    return {"w": torch.randn(n, n, generator=generator), "b": torch.randn(n, generator=generator)}


def recurrent_symmetry(n):
    return Symmetry((Group("w", n, (Place("w", 0), Place("w", 1), Place("b", 0))),))


def inner(found, reference, other):
    moved = permute(other, found[0], found[1])
    return sum(float((reference[k].double() * moved[k].double()).sum()) for k in reference if not k.endswith("mean"))


def matched(group, reference, other, *, seed=0, passes=100):
    return weight_matching(
        group,
        reference,
        other,
        assign=assign,
        generator=torch.Generator().manual_seed(seed),
        max_iterations=passes,
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=3, max_size=6), st.integers(0, 5), st.booleans())
def test_the_objective_never_decreases_and_ends_where_no_group_gains(sizes, seed, twice):
    if twice:
        group, ends = recurrent_symmetry(sizes[0] + 2), [recurrent(sizes[0] + 2, seed + k) for k in (0, 10)]
    else:
        group, ends = symmetry(sizes), [network(sizes, seed + k) for k in (0, 10)]
    products = [inner((group, group.identity()), *ends)]
    products += [inner((group, matched(group, *ends, passes=passes)), *ends) for passes in range(1, 8)]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(products))
    assert inner((group, matched(group, *ends)), *ends) >= products[-1]
    if not twice:  # brute-force twin: the incremental scores end where plain coordinate descent would stop, too
        end = permute(ends[1], group, matched(group, *ends))
        again = matched(group, ends[0], end, seed=3)
        assert all(torch.equal(order, torch.arange(len(order))) for order in again.values())


def test_one_hidden_layer_needs_one_pass_and_finds_the_best_of_all_permutations():
    sizes = (3, 5, 2)
    group, a, b = symmetry(sizes), network(sizes, 0), network(sizes, 1)
    once = matched(group, a, b, passes=1)
    assert torch.equal(once["0.weight"], matched(group, a, b)["0.weight"])
    best = max(inner((group, {"0.weight": torch.tensor(order)}), a, b) for order in permutations(range(5)))
    assert inner((group, once), a, b) == pytest.approx(best, rel=1e-6)


def test_two_hidden_layers_end_in_a_maximum_over_each_of_them():
    sizes = (3, 4, 4, 2)
    group, a, b = symmetry(sizes), network(sizes, 2), network(sizes, 3)
    found = matched(group, a, b)
    value = inner((group, found), a, b)
    for name, order in product(found, permutations(range(4))):
        assert inner((group, found | {name: torch.tensor(order)}), a, b) <= value + 1e-5


@pytest.mark.parametrize("sizes", [(6, 20, 5), (6, 20, 30, 20, 5)])
def test_a_planted_permutation_is_recovered_exactly(sizes):
    group, a = symmetry(sizes), network(sizes, 4)
    planted = group.draw(torch.Generator().manual_seed(5))
    b = permute(a, group, planted)
    found = matched(group, a, b)
    assert all(torch.equal(found[name], planted[name].argsort()) for name in planted)
    back = permute(b, group, found)
    assert all(torch.equal(back[name], a[name]) for name in a)


def test_statistics_move_along_but_do_not_decide():
    sizes = (6, 8, 3)
    group, a = symmetry(sizes), network(sizes, 6)
    b = permute(a, group, group.draw(torch.Generator().manual_seed(7)))
    other = {name: tensor if name.endswith("mean") else 1.0 * tensor for name, tensor in b.items()}
    other["0.mean"] = b["0.mean"].flip(0)  # would lead astray: 100 times the scale of the weights
    assert torch.equal(matched(group, a, other)["0.weight"], matched(group, a, b)["0.weight"])


def test_inputs_are_left_as_they_were_and_bad_ones_are_refused():
    sizes = (4, 6, 6, 2)
    group, a, b = symmetry(sizes), network(sizes, 8), network(sizes, 9)
    before = {name: tensor.clone() for name, tensor in b.items()}
    matched(group, a, b)
    assert all(torch.equal(before[name], b[name]) for name in b)
    with pytest.raises(ValueError, match="different networks"):
        matched(group, a, {name: tensor for name, tensor in b.items() if name != "0.bias"})
    b["1.weight"][0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"1\.weight is not finite"):
        matched(group, a, b)
