import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bequest.models.files import write_weights
from bequest.models.opening import BUILT_IN, open_model

OWN = """
import torch
from torch import nn

def plain():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

def sized(num_classes):
    return nn.Sequential(nn.Linear(3, num_classes))

def needs(width):
    return nn.Linear(width, 2)

def convolutions(classes=2):
    return nn.Sequential(nn.Conv2d(3, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())

class Holder:
    make = staticmethod(plain)

nothing = lambda: 3
number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_models_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_built_in_names() -> None:
    assert BUILT_IN == ("resnet8", "resnet18", "resnet50", "fixup_resnet8", "fixup_resnet18", "fixup_resnet50")


@pytest.mark.parametrize("name", ["resnet8", "fixup_resnet8"])
def test_the_seed_decides_the_weights(name: str) -> None:
    first, again, other = (open_model(name, classes=3, seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[key], again[key]) for key in first)
    drawn = [key for key in first if first[key].dim() > 1 and first[key].any()]
    assert len(drawn) >= 5 and not any(torch.equal(first[key], other[key]) for key in drawn)
    assert all(tensor.isfinite().all() for tensor in first.values())


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_global_random_state_stays(name: str) -> None:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    model = open_model(name)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1] and (np.random.get_state()[1] == states[2]).all()
    assert model.training and model.get_submodule("fc").out_features == 1000
    assert all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in model.parameters())
    assert all(tensor.requires_grad for tensor in model.parameters())


def test_own_functions_are_seeded_without_touching_the_global_state(own: str) -> None:
    state = torch.get_rng_state()
    first, again, other = (open_model(f"{own}:plain", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_own_functions_and_the_number_of_classes(own: str) -> None:
    assert open_model(f"{own}:plain").state_dict()["2.weight"].shape == (2, 4)
    assert open_model(f"{own}:plain", classes=7).state_dict()["2.weight"].shape == (7, 4)
    assert open_model(f"{own}:sized", classes=7).state_dict()["0.weight"].shape == (7, 3)
    assert isinstance(open_model(f"{own}:Holder.make"), nn.Sequential)


def test_a_model_without_a_linear_head_takes_its_own_weights(own: str) -> None:
    weights = open_model(f"{own}:convolutions", classes=5, seed=1).state_dict()
    model = open_model(f"{own}:convolutions", classes=5, weights=weights)
    assert torch.equal(model.state_dict()["0.weight"], weights["0.weight"])
    with pytest.raises(ValueError, match=r"0\.weight is \[5, 3, 1, 1\]"):
        open_model(f"{own}:convolutions", classes=6, weights=weights)


def test_own_functions_that_do_not_work(own: str) -> None:
    for name, message in {
        f"{own}:plane": f"there is no 'plane' in {own}",
        f"{own}:number": "is not a function",
        f"{own}:nothing": "returned int, not a torch.nn.Module",
        f"{own}:sized": "needs num_classes",
        f"{own}:needs": "needs width",
        "no_such_package:f": "cannot import no_such_package .*PYTHONPATH",
        ":f": "package.module:function",
        f"{own}:": "package.module:function",
        "timm:": "names no model; say timm:NAME",
    }.items():
        with pytest.raises(ValueError, match=message):
            open_model(name)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"no model 'resnet-18', did you mean 'resnet18'\? Built in are resnet8, .*fixup"
    ):
        open_model("resnet-18")
    with pytest.raises(ValueError, match=r"no model 'llama'\. Built in are"):
        open_model("llama")
    with pytest.raises(ValueError, match="at least 1 class, got 0"):
        open_model("resnet8", classes=0)


def test_weights_from_a_file_or_a_mapping(tmp_path: Path) -> None:
    source = open_model("resnet8", classes=4, seed=9)
    path = tmp_path / "p.safetensors"
    write_weights(source.state_dict(), path)
    for weights in (path, str(path), source.state_dict()):
        model = open_model("resnet8", classes=4, weights=weights)
        assert all(torch.equal(tensor, source.state_dict()[key]) for key, tensor in model.state_dict().items())
    model.get_parameter("fc.bias").data.zero_()
    assert source.get_parameter("fc.bias").any()


def test_a_head_for_other_classes_is_replaced_only_when_asked() -> None:
    weights = open_model("resnet8", classes=4, seed=9).state_dict()
    first, again, other = (open_model("resnet8", classes=6, weights=weights, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.state_dict()["conv1.weight"], weights["conv1.weight"])
    assert first.state_dict()["fc.weight"].shape == (6, 96)
    assert torch.equal(first.state_dict()["fc.weight"], again.state_dict()["fc.weight"])
    assert not torch.equal(first.state_dict()["fc.weight"], other.state_dict()["fc.weight"])
    with pytest.raises(
        ValueError, match=r"fc\.weight is \[4, 96\], the model has \[1000, 96\].*give the number of classes"
    ):
        open_model("resnet8", weights=weights)


def test_weights_of_another_network_are_refused() -> None:
    weights = open_model("fixup_resnet8", classes=4).state_dict()
    for classes in (4, 6):
        with pytest.raises(ValueError, match="not of this model"):
            open_model("resnet8", classes=classes, weights=weights)
