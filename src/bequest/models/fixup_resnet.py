"""Which networks without normalisation are built in?

Fixup ResNets (Zhang, Dauphin, Ma, ICLR 2019), the network of Neyshabur, Sedghi, Zhang (2020): no BatchNorm, a scalar
bias before each convolution and each activation, one scalar factor a block. At the start the last convolution of each
branch is zero and the others are scaled by L^(-1/(2m - 2)), with L blocks of m convolutions. The head starts as any
linear layer does (the paper on transfer sets `zero_fc_init=False`), and so does the stem. Scalars have `bias` or
`scale` in their names: the paper's optimiser gives these a tenth of the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bequest.models.head import draw_linear


class FixupBasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; starts as ReLU of the shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bias1a = nn.Parameter(torch.zeros(1))
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bias1b = nn.Parameter(torch.zeros(1))
        self.relu = nn.ReLU()
        self.bias2a = nn.Parameter(torch.zeros(1))
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.ones(1))
        self.bias2b = nn.Parameter(torch.zeros(1))
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, width, H / stride, W / stride]."""
        shifted = x + self.bias1a
        out = self.relu(self.conv1(shifted) + self.bias1b)
        out = self.conv2(out + self.bias2a) * self.scale + self.bias2b
        return self.relu(out + (x if self.downsample is None else self.downsample(shifted)))  # type: ignore[no-any-return] # nn.Module calls are Any


class FixupBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; starts as ReLU of the shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.bias1a = nn.Parameter(torch.zeros(1))
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bias1b = nn.Parameter(torch.zeros(1))
        self.bias2a = nn.Parameter(torch.zeros(1))
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bias2b = nn.Parameter(torch.zeros(1))
        self.bias3a = nn.Parameter(torch.zeros(1))
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(1))
        self.bias3b = nn.Parameter(torch.zeros(1))
        self.relu = nn.ReLU()
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, 4 width, H / stride, W / stride]."""
        shifted = x + self.bias1a
        out = self.relu(self.conv1(shifted) + self.bias1b)
        out = self.relu(self.conv2(out + self.bias2a) + self.bias2b)
        out = self.conv3(out + self.bias3a) * self.scale + self.bias3b
        return self.relu(out + (x if self.downsample is None else self.downsample(shifted)))  # type: ignore[no-any-return] # nn.Module calls are Any


class FixupResNet(nn.Module):
    """A stem, stages `layer1`, `layer2`, … and a linear head `fc`, without normalisation."""

    def __init__(
        self,
        block: type[FixupBasicBlock] | type[FixupBottleneck],
        depths: Sequence[int],
        widths: Sequence[int],
        classes: int,
        *,
        small: bool = False,
    ) -> None:
        super().__init__()
        kernel = 3 if small else 7
        self.conv1 = nn.Conv2d(3, widths[0], kernel, 2, padding=kernel // 2, bias=False)
        self.bias1 = nn.Parameter(torch.zeros(1))
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        self.stages = [f"layer{i + 1}" for i in range(len(depths))]
        inputs = widths[0]
        for i, (name, depth, width) in enumerate(zip(self.stages, depths, widths, strict=True)):
            blocks: list[nn.Module] = []
            for j in range(depth):
                blocks.append(block(inputs, width, 2 if i > 0 and j == 0 else 1))
                inputs = width * block.expansion
            self.add_module(name, nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.bias2 = nn.Parameter(torch.zeros(1))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to logits [B, classes]."""
        x = self.maxpool(self.relu(self.conv1(x) + self.bias1))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(self.avgpool(x).flatten(1) + self.bias2)  # type: ignore[no-any-return] # nn.Module calls are Any


def fixup_resnet(name: str, *, classes: int, seed: int) -> FixupResNet:
    """Build a Fixup ResNet with fresh weights, without touching the global random state.

    Args:
        name: a key of `SHAPES`.
        classes: outputs of the head.
        seed: of the generator that draws all weights.

    Returns:
        The network on the CPU, in training mode.
    """
    with torch.device("meta"):  # nothing is drawn while building
        model = SHAPES[name](classes)
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for key, parameter in model.named_parameters():
        if parameter.dim() == 1:
            nn.init.constant_(parameter, 1.0 if key.endswith("scale") else 0.0)
    nn.init.kaiming_uniform_(model.conv1.weight, a=math.sqrt(5), generator=generator)
    blocks = [module for module in model.modules() if isinstance(module, FixupBasicBlock | FixupBottleneck)]
    for block in blocks:
        *inner, last = [module for key, module in block.named_children() if key.startswith("conv")]
        for conv in inner:
            _draw_conv(conv, generator, len(blocks) ** (-1 / (2 * len(inner))))  # 2m - 2 = 2 len(inner)
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)
        if block.downsample is not None:
            _draw_conv(block.downsample, generator, 1.0)
    draw_linear(model.fc, generator)
    return model


SHAPES: dict[str, Callable[[int], FixupResNet]] = {
    "fixup_resnet8": lambda classes: FixupResNet(FixupBasicBlock, (1, 1, 1), (24, 48, 96), classes, small=True),
    "fixup_resnet18": lambda classes: FixupResNet(FixupBasicBlock, (2, 2, 2, 2), (64, 128, 256, 512), classes),
    "fixup_resnet50": lambda classes: FixupResNet(FixupBottleneck, (3, 4, 6, 3), (64, 128, 256, 512), classes),
}


def _draw_conv(conv: nn.Module, generator: torch.Generator, factor: float) -> None:
    assert isinstance(conv, nn.Conv2d)
    fan_out = conv.weight.numel() // conv.in_channels
    nn.init.normal_(conv.weight, 0.0, math.sqrt(2 / fan_out) * factor, generator=generator)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Conv2d | None:
    return None if stride == 1 and inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
