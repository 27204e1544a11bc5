import math

import pytest
import torch
from torch import nn

from bequest.models.fixup_resnet import SHAPES, FixupBasicBlock, FixupBottleneck, fixup_resnet


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # BatchNorm's twin, less two a normalised channel, plus the scalars: 2, and 5 or 7 a block
        ("fixup_resnet18", 11_689_512 - 9_600 + 2 + 5 * 8),
        ("fixup_resnet50", 25_557_032 - 53_120 + 2 + 7 * 16),
        ("fixup_resnet8", 172_296 + 97_000 + 2 + 5 * 3),
    ],
)
def test_parameter_counts(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in SHAPES[name](1000).parameters()) == parameters


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", [32, 64])
def test_forward_shapes(name: str, size: int) -> None:
    model = fixup_resnet(name, classes=5, seed=0)
    assert model(draw(2, 3, size, size)).shape == (2, 5)


@pytest.mark.parametrize("name", SHAPES)
def test_no_normalisation_no_buffers_and_the_paper_names(name: str) -> None:
    with torch.device("meta"):
        model = SHAPES[name](3)
    assert not any("Norm" in type(module).__name__ for module in model.modules())
    assert not list(model.buffers())
    # The paper's optimiser finds the scalars by these words and gives them a tenth of the learning rate.
    scalars = {key for key, p in model.named_parameters() if p.numel() == 1}
    assert scalars and all("bias" in key.rpartition(".")[2] or "scale" in key for key in scalars)
    matrices = {key for key, p in model.named_parameters() if p.dim() > 1}
    assert not any("bias" in key or "scale" in key for key in matrices)
    assert {"conv1.weight", "bias1", "layer1.0.conv2.weight", "layer2.0.downsample.weight", "bias2", "fc.bias"} <= {
        key for key, _ in model.named_parameters()
    }


@pytest.mark.parametrize("name", SHAPES)
def test_blocks_start_as_their_shortcut(name: str) -> None:
    model = fixup_resnet(name, classes=3, seed=1)
    blocks = [module for module in model.modules() if isinstance(module, FixupBasicBlock | FixupBottleneck)]
    plain = 0
    for block in blocks:
        channels = block.conv1.in_channels
        x = draw(1, channels, 8, 8).abs()  # what a block gets comes out of a ReLU
        with torch.no_grad():
            if block.downsample is None:
                plain += 1
                assert torch.equal(block(x), x)
            else:
                assert torch.equal(block(x), block.downsample(x).relu())
    assert plain == {"fixup_resnet8": 1, "fixup_resnet18": 5, "fixup_resnet50": 12}[name]


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("fixup_resnet18", "layer3.0.conv1.weight", math.sqrt(2 / (256 * 9)) * 8 ** (-1 / 2)),  # L = 8, m = 2
        ("fixup_resnet50", "layer3.0.conv2.weight", math.sqrt(2 / (256 * 9)) * 16 ** (-1 / 4)),  # L = 16, m = 3
        ("fixup_resnet50", "layer3.1.conv1.weight", math.sqrt(2 / 256) * 16 ** (-1 / 4)),
        ("fixup_resnet50", "layer3.0.downsample.weight", math.sqrt(2 / 1024)),
        ("fixup_resnet18", "fc.weight", 1 / math.sqrt(3 * 512)),  # torch's default: uniform within 1 / sqrt(inputs)
    ],
)
def test_init_has_the_paper_scale(name: str, key: str, expected: float) -> None:
    weights = fixup_resnet(name, classes=100, seed=0).state_dict()
    assert weights[key].std().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", SHAPES)
def test_only_the_last_convolutions_and_the_biases_are_zero(name: str) -> None:
    model = fixup_resnet(name, classes=3, seed=0)
    last = {2: "conv2.weight", 3: "conv3.weight"}[3 if name == "fixup_resnet50" else 2]
    for key, parameter in model.named_parameters():
        if "scale" in key:
            assert parameter.item() == 1
        else:
            zero = (key.startswith("layer") and key.endswith(last)) or (parameter.numel() == 1)
            assert bool((parameter == 0).all()) == zero, key


def test_it_trains_from_its_zeros() -> None:
    model = fixup_resnet("fixup_resnet8", classes=2, seed=0)
    x, y = draw(8, 3, 16, 16), torch.arange(8) % 2
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(15):
        loss = nn.functional.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.abs().max() > 0 for p in model.parameters())
