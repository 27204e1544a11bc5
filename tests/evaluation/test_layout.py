import pytest
import torch
from torch import nn

from bequest.evaluation.layout import in_fast_layout
from bequest.models.opening import open_model


class Asking(nn.Module):
    """Made of other modules than the rest."""

    def __init__(self, ask):
        super().__init__()
        self.body = Viewing(ask)

    def forward(self, x):
        return self.body(x)


class Viewing(nn.Module):
    """Asks for memory in the order of its axes, as many networks do before their head; or takes it as it lies."""

    def __init__(self, ask):
        super().__init__()
        self.conv, self.fc, self.ask = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 5), ask

    def forward(self, x):
        x = self.conv(x)
        if self.ask == "view":
            return self.fc(x.view(len(x), -1))
        if self.ask == "storage":  # another order gives other numbers, without an error
            return self.fc(x.as_strided((len(x), 4 * 36), (4 * 36, 1)))
        return self.fc(x.flatten(1))


def images(channels_last=False):
    inputs = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return [(part.contiguous(memory_format=layout), torch.zeros(3)) for part in inputs.split(3)]


def test_images_lie_channels_last_on_every_walk_and_stay_the_same():
    batches = images()
    fast = in_fast_layout([open_model("resnet8", classes=3, seed=0).eval(), Viewing("nothing")], batches)
    for _ in range(2):
        for (found, targets), (inputs, same) in zip(fast, batches, strict=True):
            assert found.is_contiguous(memory_format=torch.channels_last) and not inputs.is_contiguous(
                memory_format=torch.channels_last
            )
            assert torch.equal(found, inputs) and targets is same


@pytest.mark.parametrize("ask", ["view", "storage"])
def test_a_network_that_cannot_take_it_gets_its_images_as_they_come(ask):
    batches = images()
    assert in_fast_layout([Viewing("nothing"), Asking(ask)], batches) is batches


def test_what_would_gain_nothing_is_left_alone():
    last, flat = images(channels_last=True), [(torch.ones(4, 7), torch.zeros(4))]
    assert in_fast_layout([Viewing("nothing")], last) is last
    assert in_fast_layout([nn.Linear(7, 2)], flat) is flat
    assert in_fast_layout([nn.Linear(8, 2)], batches := images()) is batches
    with pytest.raises(ValueError, match="not a generator"):
        in_fast_layout([nn.Linear(7, 2)], iter(flat))
