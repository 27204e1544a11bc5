import pytest
import torch
from torch import nn

from bequest.evaluation.activations import watched
from bequest.evaluation.grams import CACHED, Reduction, block_sizes, whole


def features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def products(rows, sizes):
    """Inner products in float64, from the first example of each block."""
    found = []
    for part in rows.double().split(sizes):
        moved = part - part[0]
        found.append(moved @ moved.T)
    return found


def from_first(gram):
    """The same from the first example, wherever they were taken from."""
    return gram - gram[:1] - gram[:, :1] + gram[0, 0]


@pytest.mark.parametrize(
    ("examples", "block", "sizes"),
    [
        (64, 16, [(4, 16)]),
        (64, None, [(1, 64)]),
        (7, 16, [(1, 7)]),
        (31, 16, [(1, 31)]),
        (47, 16, [(1, 24), (1, 23)]),
        (50, 16, [(2, 17), (1, 16)]),
    ],
)
def test_blocks_are_of_nearly_equal_size_and_none_is_too_small(examples, block, sizes):
    assert block_sizes(examples, block) == sizes
    assert sum(count * size for count, size in sizes) == examples


def test_inner_products_of_blocks_of_two_sizes():
    x = features(11, 3, 4, 5) + 7
    for reduced in (x, x.to(memory_format=torch.channels_last)):
        found = Reduction(4)(reduced)
        assert [part.shape for part in found.products] == [(1, 6, 6), (1, 5, 5)]
        for mine, wanted in zip(found.products, products(x.flatten(1), [6, 5]), strict=True):
            torch.testing.assert_close(from_first(mine[0]), wanted, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(found.levels[1][0], x[6].double().square().sum(), rtol=1e-6, atol=0)


def test_features_are_taken_in_parts_without_a_seam():
    x = features(4, CACHED // 4 + 3)
    torch.testing.assert_close(from_first(whole(x).products[0][0]), products(x, 4)[0], rtol=1e-5, atol=1e-1)


def test_a_mean_of_a_thousand_costs_the_products_no_digits():
    x = features(16, 500)
    moved = (x + 1000).double() - 1000  # what float32 has left of the features
    torch.testing.assert_close(whole(x + 1000).products[0][0], products(moved, 16)[0], rtol=1e-4, atol=1e-2)


def test_features_near_zero_beside_others_far_from_it():
    x = features(8, CACHED // 4)  # in two parts, the second far from zero
    x[:, CACHED // 8 :] += 1000
    moved = x.double()
    moved[:, CACHED // 8 :] -= 1000
    found = whole(x)
    torch.testing.assert_close(from_first(found.products[0][0]), products(moved, 8)[0], rtol=1e-5, atol=0.5)
    torch.testing.assert_close(found.levels[0][0], x[0].double().square().sum(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("mean", [0.0, 2.0, 3.5, 1e4])  # where examples are subtracted, and where not
def test_constant_features_give_nothing(mean):
    gram = whole(torch.full((6, 300), mean)).products[0][0]
    torch.testing.assert_close(from_first(gram), torch.zeros(6, 6, dtype=torch.float64), rtol=0, atol=0)


@pytest.mark.parametrize("mean", [1.0, 2.7, 3.0])
def test_means_that_are_not_taken_away_cost_a_digit_at_most(mean):
    x = features(16, 5000) + mean
    torch.testing.assert_close(from_first(whole(x).products[0][0]), products(x, 16)[0], rtol=1e-4, atol=0.05)


def test_half_precision_is_widened_before_anything_is_subtracted():
    x = (features(8, 40) + 30).half()
    torch.testing.assert_close(from_first(whole(x).products[0][0]), products(x, 8)[0], rtol=1e-5, atol=1e-3)


class Views(nn.Module):
    """Outputs that are the memory of the one before, and one that is it after a change."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True)
        self.same, self.flat, self.twice = nn.Identity(), nn.Flatten(), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.twice(self.flat(self.same(self.relu(self.conv(x)))).sub_(0.2))


# inference tensors do not tell of overwriting
@pytest.mark.parametrize(("context", "shared"), [(torch.no_grad, True), (torch.inference_mode, False)])
def test_an_output_in_the_same_memory_is_reduced_once_unless_it_was_overwritten(context, shared):
    model, x, reduction, found = Views(), features(6, 2, 5, 5), Reduction(), {}
    with torch.no_grad():
        conv = model.conv(x)
        relu = conv.relu()
        wanted = {"conv": conv, "relu": relu, "same": relu, "flat": relu, "twice": (relu - 0.2).relu()}
    with context(), watched(model, list(wanted), lambda name, out: found.update({name: reduction(out)})):
        model(x)
    for name, output in wanted.items():
        expected = products(output.flatten(1), 6)[0]
        torch.testing.assert_close(from_first(found[name].products[0][0]), expected, rtol=1e-4, atol=1e-5)
    assert (found["flat"] is found["same"] is found["relu"]) == shared
    assert found["relu"] is not found["conv"] and found["twice"] is not found["flat"]


def test_memory_that_is_used_again_is_not_mistaken_for_the_output_before():
    reduction = Reduction()
    for seed in range(20):  # each is freed before the next is made, so that it may get the same place
        x = features(5, 30, seed=seed)
        wanted = products(x, 5)[0]
        torch.testing.assert_close(from_first(reduction(x).products[0][0]), wanted, rtol=1e-4, atol=1e-4)
        del x
