import copy
import gc

import pytest
import torch
from torch import nn
from torch.nn import functional

from bequest.evaluation.applied import preserved
from bequest.evaluation.batches import forward
from bequest.evaluation.replay import Replay
from bequest.models.opening import open_model
from bequest.models.order import modules


def seeded(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def images(count=12, size=16, seed=3):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 3, size, size, generator=generator)
    return [(part, torch.zeros(len(part), dtype=torch.long)) for part in inputs.split(5)]


def resnet():
    model = open_model("resnet8", classes=4, seed=1)
    generator = torch.Generator().manual_seed(0)
    for name, buffer in model.named_buffers():  # statistics that are not those of an untouched network
        if "running" in name:
            buffer.add_(torch.rand(buffer.shape, generator=generator))
    return model


class InPlace(nn.Module):
    """As torchvision writes it: ReLUs overwrite, and things are added in place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.conv3 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x += 1.0
        x += self.conv2(x)
        out = self.conv3(x)
        out += x
        return self.fc(self.relu(out).mean((2, 3)))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 17, width))
        self.blocks = nn.ModuleList([Block(width) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Twice(nn.Module):
    """`shared` runs before and after `middle`; `scale` is read again after everything."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.middle, self.last = (nn.Linear(48, 48) for _ in range(4))

    def forward(self, x):
        x = x[:, :, :4, :4].flatten(1)
        x = self.shared(torch.relu(self.first(x)))
        x = self.shared(torch.relu(self.middle(x)))
        return self.last(torch.relu(x))


class Early(nn.Module):
    """`late` is called last, but its weight is read before `first` runs: a replay from `late` would be wrong."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.late = nn.Linear(48, 48), nn.Linear(48, 48), nn.Linear(48, 3)

    def forward(self, x):
        x = x[:, :, :4, :4].flatten(1)
        x = self.middle(torch.relu(self.first(x * self.late.weight.mean())))
        return self.late(torch.relu(x))


class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(48, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(functional.dropout(self.first(x[:, :, :4, :4].flatten(1)), 0.5, training=True))


def disturb(model, unit, seed=5):
    generator = torch.Generator().manual_seed(seed)
    state = model.state_dict(keep_vars=True)
    for name in unit.parameters:
        tensor = state[name].detach()
        tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))


def check(model, batches, *, whole=(), **options):
    """With each module changed in turn, the replay of every batch is the whole forward."""
    units = modules(model, batches[0][0])
    before = copy.deepcopy(model.state_dict())
    with preserved(model), torch.inference_mode():
        replay = Replay(model, units, batches, **options)
        assert replay.whole == whole
        for unit in units:
            model.load_state_dict(before)
            replay.hold(unit.name)
            disturb(model, unit)
            for prefix, (inputs, targets) in zip(replay.held(), batches, strict=True):
                expected = forward(model, inputs)
                assert torch.equal(replay.run(prefix), expected)
                assert torch.equal(replay.run(prefix), expected), "what is kept was overwritten"
                assert torch.equal(prefix.targets, targets)
        model.load_state_dict(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any("forward" in module.__dict__ for module in model.modules())
    return replay


@pytest.mark.parametrize("build", [resnet, InPlace, ViT, lambda: open_model("fixup_resnet8", classes=4, seed=0)])
def test_replay_equals_the_whole_forward_bit_for_bit(build):
    replay = check(seeded(build).eval(), images())
    shares = list(replay.shares.values())
    assert shares[0] == 1.0 and shares == sorted(shares, reverse=True) and shares[-1] < 0.1


def test_a_module_that_is_called_twice_is_two_calls():
    replay = check(seeded(Twice), images())
    assert replay.shares["shared"] == pytest.approx(4 / 5)  # from its first call on: two of it, middle and last
    assert replay.shares["middle"] == pytest.approx(3 / 5)


def test_what_cannot_be_replayed_is_run_in_full():
    replay = check(seeded(Early), images(), whole=("late",))
    assert replay.shares["late"] == 1.0 and replay.shares["middle"] < 1.0


def test_a_random_network_is_always_run_in_full():
    model = seeded(Random)
    with preserved(model), torch.random.fork_rng(devices=[]), torch.inference_mode():
        replay = Replay(model, modules(model, images()[0][0]), images())
    assert replay.whole == ("first", "last")


def test_only_one_output_is_kept_and_no_more_than_asked_for():
    model, batches = resnet().eval(), images()
    units = modules(model, batches[0][0])
    with preserved(model), torch.inference_mode():
        replay = Replay(model, units, batches)
        replay.hold("layer3.0")
        for prefix in replay.held():
            boundary = 4 * len(prefix.targets) * 48 * 4 * 4  # float32 of the second stage
            assert prefix.size - prefix.inputs.nbytes == pytest.approx(boundary, rel=0.01)
        one = next(replay.held()).size
    for bound, kept in ((0, 0), (int(1.5 * one), 1), (10 * one, 3)):
        replay = check(model, batches, cache_bytes=bound)
        with preserved(model), torch.inference_mode():
            replay.hold("layer3.0")
            sizes = [prefix.size for prefix in replay.held() if prefix.unit is not None]
        assert len(sizes) >= kept and sum(sizes) <= bound


def alive():
    """Bytes of all tensors there are; views of one memory count once."""
    gc.collect()
    storages = [one.untyped_storage() for one in gc.get_objects() if type(one) is torch.Tensor]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@pytest.mark.parametrize("bound", [2**17, 2**19])
def test_no_more_memory_is_alive_than_the_bound_allows(bound):
    model, batches = resnet().eval(), images(count=40)
    units = modules(model, batches[0][0])
    with preserved(model), torch.inference_mode():
        replay = Replay(model, units, batches, cache_bytes=bound)
        before = alive()
        for unit in units:
            replay.hold(unit.name)
            assert alive() - before <= bound
            for prefix in replay.held():
                replay.run(prefix)
        del prefix
        kept = [prefix.unit for prefix in replay.held()]
    assert (None in kept) == (bound == 2**17)  # what does not fit is run in full


def test_batches_in_another_order_are_noticed():
    class Shuffled(list):
        walks = 0

        def __iter__(self):
            self.walks += 1
            return iter(self[:] if self.walks % 2 else self[::-1])

    parts = [(inputs, targets + place) for place, (inputs, targets) in enumerate(images())]
    model = resnet().eval()
    with preserved(model), torch.inference_mode():
        replay = Replay(model, modules(model, parts[0][0]), Shuffled(parts), cache_bytes=60_000)
        replay.hold("layer1.0")
        with pytest.raises(ValueError, match="not the same on every walk"):
            for _ in range(2):
                list(replay.held())


def test_rewinding_all_modules_of_a_resnet18_costs_half():
    model = open_model("resnet18", classes=4, seed=0).eval()
    batches = [(torch.zeros(2, 3, 64, 64), torch.zeros(2, dtype=torch.long))]
    units = modules(model, batches[0][0])
    with preserved(model), torch.no_grad():
        replay = Replay(model, units, batches)
    assert replay.whole == ()
    assert sum(replay.shares.values()) / len(units) < 0.55
