import math

import pytest
import torch
from torch import nn

from bequest.models.head import head_name, replace_head
from bequest.models.opening import open_model


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3, bias=False))
        self.projection = nn.Linear(3, 2)


def test_head_names() -> None:
    assert head_name(open_model("resnet8")) == head_name(open_model("fixup_resnet8")) == "fc"
    assert head_name(Odd()) == "classifier.2"
    assert head_name(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))) == "2"
    with pytest.raises(ValueError, match="Conv2d has no linear layer"):
        head_name(nn.Conv2d(1, 1, 1))


def test_a_copy_gets_the_head_and_the_model_stays() -> None:
    model = open_model("resnet8", classes=4, seed=0).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    new = replace_head(model, 7, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(new) is type(model) and not new.training and not new.get_submodule("fc").training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    weights = new.state_dict()
    assert weights["fc.weight"].shape == (7, 96) and weights["fc.bias"].shape == (7,)
    for name, tensor in before.items():
        if not name.startswith("fc."):
            assert torch.equal(weights[name], tensor)
            assert weights[name].data_ptr() != model.state_dict()[name].data_ptr()


def test_the_seed_alone_decides_the_head() -> None:
    first, second = open_model("resnet8", classes=4, seed=0), open_model("resnet8", classes=9, seed=1)
    heads = [replace_head(model, 5, seed=3).state_dict()["fc.weight"] for model in (first, second)]
    assert torch.equal(*heads)
    assert not torch.equal(heads[0], replace_head(first, 5, seed=4).state_dict()["fc.weight"])
    wide = replace_head(first.double(), 5, seed=3).state_dict()["fc.weight"]
    assert wide.dtype == torch.float64 and torch.equal(wide.float(), heads[0])


def test_torchs_default_distribution() -> None:
    head = replace_head(nn.Sequential(nn.Linear(64, 2)), 4000, seed=0).state_dict()
    for tensor in head.values():
        assert tensor.abs().max() <= 1 / math.sqrt(64)
        assert tensor.std().item() == pytest.approx(1 / math.sqrt(3 * 64), rel=0.03)


def test_a_head_without_bias_stays_without() -> None:
    assert replace_head(Odd(), 6, seed=0).get_submodule("classifier.2").bias is None


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 1 class, got 0"):
        replace_head(Odd(), 0, seed=0)
    with pytest.raises(ValueError, match="nothing but its head"):
        replace_head(nn.Linear(2, 2), 3, seed=0)
