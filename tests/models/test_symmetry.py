import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bequest.models.opening import open_model
from bequest.models.resnet import BasicBlock, Bottleneck, ResNet
from bequest.models.symmetry import example_for, symmetry_of
from bequest.weights.symmetry import Place, permute

NARROW = {"resnet18": (BasicBlock, (2, 2, 2, 2)), "resnet50": (Bottleneck, (3, 4, 6, 3))}


class Flattened(nn.Module):
    """A plain convolutional network whose head reads 5 x 5 pixels a channel."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.fc1, self.fc2 = nn.Linear(8 * 25, 12), nn.Linear(12, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.gelu(self.norm(self.conv2(F.pad(x, (0, 1, 0, 1)))))
        return self.fc2(F.leaky_relu(self.fc1(x.view(x.shape[0], -1))))


class Dense(nn.Module):
    """Concatenated channels, a concatenation that is read flat, a tied layer, a scale a channel, an in-place sum."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 7, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.conv3, self.tied = nn.Conv2d(12, 6, 1), nn.Conv2d(6, 6, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(6, 1, 1))
        self.fc = nn.Linear(6 * 16 + 12, 3)

    def forward(self, x):
        first = torch.relu(self.conv1(x))
        both = self.norm(torch.cat([first, self.conv2(first)], 1))
        y = self.conv3(both) * self.scale
        y += self.tied(self.tied(y).relu_())
        return self.fc(torch.cat([y.flatten(1), both.mean((2, 3))], dim=1)).softmax(dim=-1)


class Transposed(nn.Module):
    """Channels on the last axis under LayerNorm, then back, a transposed convolution and one group of GroupNorm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.up = nn.Conv2d(3, 6, 3), nn.LayerNorm(6), nn.ConvTranspose2d(6, 5, 2)
        self.group, self.slope, self.head = nn.GroupNorm(1, 5), nn.PReLU(5), nn.Conv2d(5, 2, 1)

    def forward(self, x):
        x = self.norm(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(self.slope(self.group(self.up(x)))).flatten(2).mean(-1)


def mlp():
    return nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 7), nn.Tanh(), nn.Dropout(0.5), nn.Linear(7, 3))


def build(name):
    if name in NARROW:
        block, depths = NARROW[name]
        return ResNet(block, depths, (4, 6, 8, 10), 5)
    return {"mlp": mlp, "flattened": Flattened, "dense": Dense, "transposed": Transposed}[name]()


def model_of(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return open_model(name, classes=5) if name.endswith("resnet8") else build(name)


def disturbed(model, seed=0):
    """Weights with statistics as a training leaves them: no zeros and ones, different in each channel."""
    generator = torch.Generator().manual_seed(seed)
    weights = copy.deepcopy(model.state_dict())
    for name, tensor in weights.items():
        if name.endswith(("running_var", "running_mean")) or (tensor.dim() in (1, 3) and tensor.is_floating_point()):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif tensor.dim() > 1 and not tensor.any():
            tensor.normal_(0, 0.1, generator=generator)
    return weights


ALL = ["mlp", "flattened", "dense", "transposed", "resnet8", "fixup_resnet8", "resnet18", "resnet50"]


@pytest.mark.parametrize("name", ALL)
def test_a_permuted_copy_is_far_away_and_the_same_function(name):
    model = model_of(name).eval()
    inputs = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    if name != "mlp":
        side = 23 if name == "flattened" else 4 if name == "dense" else 32
        inputs = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    weights = disturbed(model)
    before = copy.deepcopy(weights)
    symmetry = symmetry_of(model, inputs)
    moved = permute(weights, symmetry, symmetry.draw(torch.Generator().manual_seed(2)))
    outputs = []
    for one in (weights, moved):
        model.load_state_dict(one)
        outputs.append(model(inputs).detach())
    assert (outputs[0] - outputs[1]).abs().max() <= 1e-5 * outputs[0].abs().max()
    for name, tensor in weights.items():
        assert torch.equal(tensor, before[name])
        assert (
            tensor.dim() == 0 or tensor.numel() == 1 or name in still(symmetry) or not torch.equal(tensor, moved[name])
        )


def still(symmetry):
    """Tensors without any channel that can move: biases of heads."""
    placed = {place.tensor for group in symmetry.groups for place in group.places}
    return {"fc.bias", "fc2.bias", "5.bias", "head.bias"} - placed


def test_running_statistics_move_and_are_not_compared():
    symmetry = symmetry_of(model_of("resnet8"))
    stem = symmetry.groups[0]
    assert (stem.name, stem.size) == ("conv1.weight", 24)
    assert {Place("bn1.running_mean", 0), Place("bn1.running_var", 0), Place("bn1.bias", 0)} <= set(stem.places)
    assert "bn1.running_var" in symmetry.statistics and "bn1.weight" not in symmetry.statistics


def test_a_residual_stream_has_one_permutation_and_a_shortcut_leads_from_one_to_the_next():
    symmetry = symmetry_of(model_of("resnet8"))
    groups = {place: group.name for group in symmetry.groups for place in group.places}
    stem, second = "conv1.weight", groups[Place("layer2.0.conv2.weight", 0)]
    assert groups[Place("layer1.0.conv2.weight", 0)] == groups[Place("layer2.0.conv1.weight", 1)] == stem
    shortcut = "layer2.0.downsample.0.weight"
    assert (groups[Place(shortcut, 1)], groups[Place(shortcut, 0)]) == (stem, second)
    assert len(symmetry.groups) == 6  # three streams, three inner ones
    assert Place("conv1.weight", 1) not in groups and Place("fc.weight", 0) not in groups
    assert len(symmetry_of(model_of("resnet50")).groups) == 1 + 4 + 2 * 16


def test_a_flattened_image_repeats_each_channel_over_its_pixels():
    symmetry = symmetry_of(model_of("flattened"), torch.randn(2, 3, 23, 23))
    group = next(group for group in symmetry.groups if group.name == "conv2.weight")
    assert group.size == 8 and Place("fc1.weight", 1, 0, 25) in group.places


def test_concatenated_channels_keep_their_own_groups():
    symmetry = symmetry_of(model_of("dense"), torch.randn(2, 3, 4, 4))
    places = {group.name: set(group.places) for group in symmetry.groups}
    assert (
        Place("norm.weight", 0, 5) in places["conv2.weight"] and Place("fc.weight", 1, 6 * 16) in places["conv1.weight"]
    )
    assert {Place("tied.weight", 0), Place("tied.weight", 1), Place("scale", 0)} <= places["conv3.weight"]


class Shuffled(nn.Module):
    """Does something with its channels' order that only running it can show."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.fc, self.function = nn.Conv2d(3, 6, 3), nn.Linear(6, 2), function

    def forward(self, x):
        return self.fc(self.function(self.conv(x)).mean((2, 3)))


def inverted_residual():
    """The block of MobileNetV2: expand, depthwise, project."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 4, 1),
        nn.Flatten(),
        nn.Linear(4 * 64, 3),
    )


REFUSED = {
    "depthwise": (inverted_residual, r"in 3 \(Conv2d\), a convolution of 8 groups \(depthwise"),
    "grouped": (lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=2)), r"in 1 \(Conv2d\)"),
    "groupnorm": (lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8)), r"in 1 \(GroupNorm\), .*2 groups"),
    "attention": (
        lambda: nn.Sequential(nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)),
        r"in 1\.self_attn \(MultiheadAttention\), the operation 'multi_head_attention_forward' is not known",
    ),
    "roll": (lambda: Shuffled(lambda x: x.roll(1, 1)), r"Shuffled: in Shuffled, the operation 'roll'"),
    "slice": (lambda: Shuffled(lambda x: x[:, [5, 4, 3, 2, 1, 0]]), "the operation 'getitem'"),
    "split": (lambda: Shuffled(lambda x: x.view(2, 3, 2, 6, 6).mean(2).repeat(1, 2, 1, 1)), "a reshape splits"),
    "cumulative": (lambda: Shuffled(lambda x: x.cumsum(1)), "the operation 'cumsum'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_by_name(name):
    build, message = REFUSED[name]
    inputs = torch.randn(2, 5, 8) if name == "attention" else torch.randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match=message):
        symmetry_of(build(), inputs)


def test_channels_that_meet_a_constant_stay_where_they_are():
    positions = torch.arange(6.0)[:, None, None]
    assert symmetry_of(Shuffled(lambda x: x + positions), torch.randn(2, 3, 8, 8)).groups == ()
    assert len(symmetry_of(Shuffled(lambda x: x + positions[:1]), torch.randn(2, 3, 8, 8)).groups) == 1


def test_what_slips_past_the_trace_is_caught_by_trying_a_permutation():
    def secretly(x):
        with torch._C.DisableTorchFunction():
            x.data.copy_(x.data.flip(1))
        return x

    with pytest.raises(ValueError, match="does something to its channels that could not be followed"):
        symmetry_of(Shuffled(secretly), torch.randn(2, 3, 8, 8))


def test_the_model_is_left_as_it_was_and_the_global_random_state_too():
    model = model_of("resnet8").train()
    weights, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    symmetry_of(model)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_an_example_is_made_up_from_the_first_layer():
    assert example_for(mlp()).shape == (2, 5)
    assert example_for(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 3))).shape == (
        2,
        1,
        28,
        28,
    )
    with pytest.raises(ValueError, match="pass example="):
        example_for(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(7, 3)))
