import pytest
import torch
from torch import nn

from bequest.evaluation.activations import activations, watched


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs):
        return self.relu(self.second(self.relu(self.first(inputs))))


def inputs(seed=0, n=5):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def test_an_output_that_a_later_relu_overwrites_is_kept():
    model, x = Twice(), inputs()
    (kept,) = activations(model, ["first", "second"], [(x, torch.zeros(5))])
    expected = model.first(x)
    assert bool((expected < 0).any())
    assert torch.equal(kept["first"], expected)


def test_each_call_of_a_module_is_an_output_of_its_own():
    model, x = Twice(), inputs()
    for kept in activations(model, ["relu", "second"], [(x, torch.zeros(5)), (x, torch.zeros(5))]):
        assert list(kept) == ["relu", "second", "relu#2"]
        assert torch.equal(kept["relu"], model.first(x).relu())
        assert torch.equal(kept["relu#2"], model(x))


def test_outputs_can_be_reduced_in_the_hook():
    (kept,) = activations(Twice(), ["first"], [(inputs(), torch.zeros(5))], reduce=lambda output: output.mean(1))
    assert kept["first"].shape == (5,)


def test_a_name_that_matches_nothing_is_an_error_that_names_the_nearest():
    with pytest.raises(KeyError, match=r"no module 'frist'; the nearest is 'first'"):
        list(activations(Twice(), ["frist"], [(inputs(), torch.zeros(5))]))


def test_hooks_are_removed_also_after_an_error():
    model = Twice().train()
    with pytest.raises(RuntimeError, match="shapes"):
        list(activations(model, ["first", "relu"], [(torch.zeros(5, 7), torch.zeros(5))]))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert model.training


def test_the_first_tensor_of_a_tuple_is_the_output_and_no_tensor_is_an_error():
    class Pair(nn.Module):
        def forward(self, x):
            return (x + 1, x) if x.shape[0] == 5 else None

    model = nn.Sequential(nn.Linear(3, 3), Pair())
    seen = []
    with watched(model, ["1"], lambda name, output: seen.append(output.clone())):
        result = model(inputs())
        assert torch.equal(seen[0], result[0])
        with pytest.raises(ValueError, match="'1' gives no tensor"):
            model(inputs(n=4))
