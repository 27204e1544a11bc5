import math

import pytest
import torch
from torch import nn

from bequest.models.resnet import SHAPES, resnet


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("resnet18", 1000, 11_689_512),  # torchvision's model cards
        ("resnet50", 1000, 25_557_032),
        ("resnet8", 12, 172_296 + 2 * 504 + 97 * 12),  # by hand: convolutions, norms of 504 channels, head
    ],
)
def test_parameter_counts(name: str, classes: int, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in SHAPES[name](classes).parameters()) == parameters


def test_names_and_shapes_are_torchvisions() -> None:
    with torch.device("meta"):
        deep, shallow = SHAPES["resnet50"](1000).state_dict(), SHAPES["resnet18"](1000).state_dict()
    assert len(deep) == 320 and len(shallow) == 122  # lengths of torchvision's state dicts
    assert list(deep)[:7] == [
        "conv1.weight",
        *[f"bn1.{key}" for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")],
        "layer1.0.conv1.weight",
    ]
    assert deep["conv1.weight"].shape == (64, 3, 7, 7)
    assert deep["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert deep["layer4.0.downsample.1.running_var"].shape == (2048,)
    assert deep["layer4.2.conv2.weight"].shape == (512, 512, 3, 3)
    assert "layer1.0.downsample.0.weight" not in shallow
    assert shallow["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert list(deep)[-2:] == ["fc.weight", "fc.bias"] and deep["fc.weight"].shape == (1000, 2048)


def test_the_stride_of_a_bottleneck_is_on_its_3x3_convolution() -> None:
    with torch.device("meta"):
        block = SHAPES["resnet50"](2).get_submodule("layer2.0")
    assert block.get_submodule("conv1").stride == (1, 1) and block.get_submodule("conv2").stride == (2, 2)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", [32, 64])
def test_forward_shapes(name: str, size: int) -> None:
    model = resnet(name, classes=5, seed=0)
    seen: dict[str, torch.Size] = {}
    for stage in model.stages:
        model.get_submodule(stage).register_forward_hook(lambda _m, _i, out, key=stage: seen.update({key: out.shape}))
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 5)
    stem = size // (2 if name == "resnet8" else 4)
    assert [shape[-1] for shape in seen.values()] == [stem // 2**i for i in range(len(model.stages))]


def test_init_has_he_variance_and_does_not_depend_on_the_classes() -> None:
    model, other = resnet("resnet18", classes=3, seed=7), resnet("resnet18", classes=1000, seed=7)
    weights, others = model.state_dict(), other.state_dict()
    conv = weights["layer3.1.conv1.weight"]
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.01)
    assert abs(conv.mean().item()) < 1e-3
    assert weights["fc.weight"].abs().max().item() == pytest.approx(1 / math.sqrt(512), rel=0.01)
    assert torch.equal(weights["bn1.running_var"], torch.ones(64)) and not weights["bn1.running_mean"].any()
    assert all(torch.equal(tensor, others[key]) for key, tensor in weights.items() if not key.startswith("fc."))


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "resnet50"])
def test_what_a_hook_keeps_is_not_overwritten(name: str) -> None:
    model = resnet(name, classes=3, seed=0).eval()
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda _m, _i, out: kept.append((out, out.clone())))
    with torch.no_grad():
        model(torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert kept and all(torch.equal(out, copy) for out, copy in kept)
