import copy

import pytest
import torch
from torch import nn

from bequest.evaluation.applied import applied, line, put, taken
from bequest.weights.algebra import lerp


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("volatile", torch.zeros(2), persistent=False)
        self.register_buffer("steps", torch.tensor(3))

    def forward(self, inputs):
        self.volatile = self.volatile + 1  # replaces the object, as careless networks do
        self.steps.add_(1)
        return self.norm(self.second(self.first(inputs)))


def trained(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Tied()
        for _ in range(3):
            model(torch.randn(8, 4))
    model.first.bias.requires_grad_(False)
    return model


def picture(model):
    """Everything that must not change: values, identities, flags."""
    tensors = {name: tensor.detach().clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    identities = [id(tensor) for tensor in (*model.parameters(), *model.buffers())]
    return tensors, identities, [module.training for module in model.modules()]


def assert_unchanged(model, before):
    tensors, identities, flags = picture(model)
    assert tensors.keys() == before[0].keys()
    assert all(torch.equal(tensor, before[0][name]) for name, tensor in tensors.items())
    assert (identities, flags) == before[1:]


def test_weights_are_in_the_model_inside_and_gone_after():
    model, other = trained(0).train(), trained(1)
    model.norm.eval()
    before, inputs = picture(model), torch.ones(2, 4)
    expected = copy.deepcopy(other).eval()(inputs)
    with applied(model, other.state_dict()) as running:
        assert running is model and not any(module.training for module in model.modules())
        assert torch.equal(model(inputs), expected)
    assert_unchanged(model, before)


@pytest.mark.parametrize("enter", [lambda m, w: applied(m, w), lambda m, w: line(m, w, w), lambda m, w: applied(m)])
def test_everything_is_restored_after_an_error(enter):
    model, other = trained(0).train(), trained(1)
    before = picture(model)
    with pytest.raises(RuntimeError, match="inside"), enter(model, other.state_dict()):
        raise RuntimeError("inside")
    assert_unchanged(model, before)


def test_without_weights_only_the_flags_change():
    model = trained(0).train()
    with applied(model):
        assert not model.norm.training
    assert model.training and model.norm.training


def test_weights_that_do_not_fit_are_named():
    model = trained(0)
    weights = dict(model.state_dict())
    lacking = {name: tensor for name, tensor in weights.items() if name != "norm.weight"}
    with pytest.raises(ValueError, match=r"1 tensors are missing \(norm\.weight\), 0 are not"), applied(model, lacking):
        pass
    with (
        pytest.raises(ValueError, match=r"1 are not in the model \(head\)"),
        applied(model, weights | {"head": torch.ones(1)}),
    ):
        pass
    shape = weights | {"first.bias": torch.ones(5)}
    with (
        pytest.raises(ValueError, match=r"first\.bias is \(5,\) in the weights and \(4,\) in the model"),
        applied(model, shape),
    ):
        pass


def test_the_line_is_the_algebra_and_its_ends_are_exact():
    model = trained(0)
    a, b = copy.deepcopy(trained(1).state_dict()), copy.deepcopy(trained(2).state_dict())
    before = picture(model)
    with line(model, a, b) as go:
        for t in (0.0, 0.3, 0.5, 1.0, -0.5, 1.5):
            go(t)
            for name, wanted in lerp(a, b, t).items():
                torch.testing.assert_close(model.state_dict()[name], wanted)
        go(1.0)
        assert all(torch.equal(model.state_dict()[name], b[name]) for name in b if b[name].is_floating_point())
        assert torch.equal(model.state_dict()["norm.num_batches_tracked"], a["norm.num_batches_tracked"])
        go(0.0)
        assert all(torch.equal(model.state_dict()[name], a[name]) for name in a)
    assert_unchanged(model, before)


def test_frozen_parameters_move_along_the_line():
    model = trained(0)
    a, b = copy.deepcopy(trained(1).state_dict()), copy.deepcopy(trained(2).state_dict())
    with line(model, a, b) as go:
        go(0.5)
        torch.testing.assert_close(model.first.bias, (a["first.bias"] + b["first.bias"]) / 2)


def test_an_end_that_is_the_model_itself_does_not_move():
    model, other = trained(0), trained(1)
    a, b = copy.deepcopy(model.state_dict()), copy.deepcopy(other.state_dict())
    with line(model, model.state_dict(), b) as go:
        go(1.0)
        go(0.5)
        assert all(torch.allclose(model.state_dict()[name], wanted) for name, wanted in lerp(a, b, 0.5).items())


def test_low_precision_ends_are_mixed_in_float32():
    model = nn.Linear(3, 2).to(torch.bfloat16)
    a = {name: torch.full_like(tensor, 1.0) for name, tensor in model.state_dict().items()}
    b = {name: torch.full_like(tensor, 2.0) for name, tensor in model.state_dict().items()}
    with line(model, a, b) as go:
        go(0.25)
        assert model.weight.dtype == torch.bfloat16 and bool((model.weight == 1.25).all())


def test_put_and_taken_are_inverse():
    model, other = trained(0), trained(1)
    put(model, other.state_dict())
    weights = taken(model)
    assert all(torch.equal(weights[name], tensor) for name, tensor in other.state_dict().items())
    assert weights["first.weight"].data_ptr() != model.first.weight.data_ptr()
