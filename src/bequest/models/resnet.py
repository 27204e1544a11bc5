"""Which BatchNorm ResNets are built in?

`resnet18` and `resnet50` (He et al. 2016, with the stride of a bottleneck on its 3x3 convolution) have the names and
shapes of torchvision's, so its state dicts fit. `resnet8` is the same network for small images: a 3x3 stem of stride 2
without pooling, three stages of one block. No ReLU and no addition works in place: a hook may keep what it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bequest.models.head import draw_linear


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, width, H / stride, W / stride]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return] # nn.Module calls are Any


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, 4 width, H / stride, W / stride]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return] # nn.Module calls are Any


class ResNet(nn.Module):
    """A stem, stages `layer1`, `layer2`, … and a linear head `fc`."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        widths: Sequence[int],
        classes: int,
        *,
        small: bool = False,
    ) -> None:
        super().__init__()
        kernel = 3 if small else 7
        self.conv1 = nn.Conv2d(3, widths[0], kernel, 2, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
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
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to logits [B, classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(self.avgpool(x).flatten(1))  # type: ignore[no-any-return] # nn.Module calls are Any


def resnet(name: str, *, classes: int, seed: int) -> ResNet:
    """Build a BatchNorm ResNet with fresh weights, without touching the global random state.

    Args:
        name: a key of `SHAPES`.
        classes: outputs of the head.
        seed: of the generator that draws all weights: He normal (fan out) for convolutions, torch's default for `fc`.

    Returns:
        The network on the CPU, in training mode.
    """
    with torch.device("meta"):  # nothing is drawn while building
        model = SHAPES[name](classes)
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()  # ones and zeros: no randomness
        elif isinstance(module, nn.Linear):
            draw_linear(module, generator)
    return model


SHAPES: dict[str, Callable[[int], ResNet]] = {
    "resnet8": lambda classes: ResNet(BasicBlock, (1, 1, 1), (24, 48, 96), classes, small=True),
    "resnet18": lambda classes: ResNet(BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512), classes),
    "resnet50": lambda classes: ResNet(Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512), classes),
}


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
