from pathlib import Path

import pytest
import torch

from bequest.models.from_torchvision import load_torchvision
from bequest.models.head import head_name, head_parts, replace_head
from bequest.models.opening import open_model
from bequest.models.order import modules
from bequest.models.record import opening_of

torchvision = load_torchvision()
IMAGE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_modules_seed_and_head() -> None:
    state = torch.get_rng_state()
    first, again = (open_model("torchvision:resnet18", classes=3, seed=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    found = [module.name for module in modules(first, IMAGE)]
    assert found == ["conv1", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)), "fc"]
    model = open_model("torchvision:resnet18", classes=5, weights=first.state_dict())
    assert model.fc.out_features == 5 and torch.equal(model.conv1.weight, first.conv1.weight)


def test_a_vision_transformer() -> None:
    model = torchvision.models.VisionTransformer(64, 32, 2, 2, 24, 24, num_classes=3)
    found = [module.name for module in modules(model, IMAGE)]
    assert found == ["conv_proj", *(f"encoder.layers.encoder_layer_{i}" for i in (0, 1)), "heads.head"]
    assert head_name(model) == "heads.head"


def test_a_head_that_is_a_convolution_and_heads_beside_it() -> None:
    model = open_model("torchvision:squeezenet1_1", classes=3)
    assert head_name(model) == "classifier.1"
    new = replace_head(model, 5, seed=0)
    assert new.eval()(IMAGE).shape == (2, 5) and model.eval()(IMAGE).shape == (2, 3)
    source = open_model("torchvision:googlenet", classes=3)
    assert head_parts(source) == ("fc", "aux1", "aux2")
    other = open_model("torchvision:googlenet", classes=4, weights=source.state_dict())
    assert other.aux1.fc2.out_features == 4 and torch.equal(other.conv1.conv.weight, source.conv1.conv.weight)


def test_published_weights_come_from_the_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"torchvision:squeezenet1_1 are not at .*nothing is downloaded here"):
        open_model("torchvision:squeezenet1_1", weights="pretrained")
    source = open_model("torchvision:squeezenet1_1", seed=7).state_dict()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    url = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT.url
    torch.save(source, tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2])
    model = open_model("torchvision:squeezenet1_1", weights="pretrained")
    assert all(torch.equal(tensor, source[key]) for key, tensor in model.state_dict().items())
    assert not opening_of(model).head_drawn


def test_options() -> None:
    model = open_model("torchvision:resnet18?zero_init_residual=True", classes=3)
    assert not model.layer1[0].bn2.weight.any()


def test_names_and_options_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="torchvision has no classifier 'resnet19', did you mean 'resnet"):
        open_model("torchvision:resnet19")
    with pytest.raises(ValueError, match="torchvision has no classifier 'fcn_resnet50'"):
        open_model("torchvision:fcn_resnet50")
    with pytest.raises(ValueError, match=r"torchvision cannot build 'resnet18' with \{'depth': 3\}"):
        open_model("torchvision:resnet18?depth=3")
