from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bequest.data.batches import Stored, batches, mean_and_std, normalised, take_shots, to_tensor
from bequest.data.emoji import open_emoji
from bequest.data.pack import Packed, pack
from bequest.data.source import Record, Source

PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def noise(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    # Class 0 has three groups of two images in train, class 1 has five images that are groups of their own.
    rows = [("a", 0), ("a", 0), ("b", 0), ("b", 0), ("c", 0), ("c", 0), *((str(i), 1) for i in range(5))]
    records = [Record(f"n{i}", group, target, partial(noise, i), "train") for i, (group, target) in enumerate(rows)]
    records += [Record(f"t{i}", f"t{i}", i % 2, partial(noise, 50 + i), "test") for i in range(4)]
    return pack(Source("noise", ("zero", "one"), tuple(records), ""), tmp_path, size=5)


def test_shots_come_from_train_evenly_and_from_different_groups(packed: Packed) -> None:
    for seed in range(20):
        chosen = take_shots(packed, 3, seed=seed)
        assert chosen.dtype == torch.int64 and chosen.tolist() == sorted(set(chosen.tolist()))
        assert packed.targets[chosen].tolist() == [0, 0, 0, 1, 1, 1]
        assert {packed.splits[i] for i in chosen} == {"train"}
        assert {packed.groups[i] for i in chosen[:3]} == {"a", "b", "c"}
    four = take_shots(packed, 4, seed=0)
    assert len({packed.groups[i] for i in four[:4]}) == 3


def test_shots_depend_on_the_seed_alone_and_grow(packed: Packed) -> None:
    assert torch.equal(take_shots(packed, 2, seed=1), take_shots(packed, 2, seed=1))
    assert len({tuple(take_shots(packed, 2, seed=seed).tolist()) for seed in range(10)}) > 3
    for seed in range(5):
        chosen = [set(take_shots(packed, shots, seed=seed).tolist()) for shots in (1, 2, 3, 4, 5)]
        assert all(small < large for small, large in pairwise(chosen))


def test_shots_are_the_same_emoji_in_every_domain(tmp_path: Path) -> None:
    names = []
    for domain in ("line", "mono"):
        one = pack(open_emoji(domain), tmp_path / domain, size=4)
        names.append([one.names[i] for i in take_shots(one, 5, seed=3)])
    assert names[0] == names[1] and len(names[0]) == 60


def test_too_many_shots_name_the_class(packed: Packed) -> None:
    with pytest.raises(ValueError, match="one in noise has 5; ask for 5 shots or fewer"):
        take_shots(packed, 6, seed=0)
    with pytest.raises(ValueError, match="1 or more, not 0"):
        take_shots(packed, 0, seed=0)


def test_to_tensor_gives_the_pixels(packed: Packed) -> None:
    indices = torch.tensor([7, 2, 2])
    images = to_tensor(packed, indices)
    assert images.shape == (3, 3, 5, 5) and images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), noise(7, 5))
    images.zero_()  # memory of its own, the file is read-only
    assert packed.pixels[2].any()


def test_batches_walk_again_in_the_order_asked_for(packed: Packed) -> None:
    indices = torch.tensor([12, 3, 0, 8, 5])
    walk = batches(packed, indices, batch_size=2, normalise=PLAIN)

    def once() -> tuple[Tensor, Tensor]:
        images, targets = zip(*walk, strict=True)
        assert [len(part) for part in images] == [2, 2, 1]
        return torch.cat(images), torch.cat(targets)

    first, second = once(), once()
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert len(walk) == 3 and torch.equal(walk.targets, first[1])
    assert first[0].dtype == torch.float32
    assert torch.equal(first[0], to_tensor(packed, indices).float() / 255)
    assert first[1].tolist() == packed.targets[indices].tolist()


def test_normalising_with_the_measured_constants_gives_mean_0_and_deviation_1(packed: Packed) -> None:
    indices = packed.indices("train")
    constants = mean_and_std(packed, indices)
    truth = packed.pixels[indices.numpy()].reshape(-1, 3) / 255
    assert np.allclose(constants, [truth.mean(0), truth.std(0)], atol=1e-12)
    images = torch.cat([images for images, _ in batches(packed, indices, batch_size=3, normalise=constants)]).double()
    assert images.mean((0, 2, 3)).abs().max() < 1e-6
    assert (images.var((0, 2, 3), correction=0) - 1).abs().max() < 1e-6
    assert torch.equal(normalised(torch.ones(1, 3, 2, 2), PLAIN), torch.ones(1, 3, 2, 2))


def test_bad_arguments(packed: Packed) -> None:
    def attempt(indices: list[int], size: int = 2, std: float = 1.0) -> None:
        wanted = torch.tensor(indices, dtype=torch.int64)
        batches(packed, wanted, batch_size=size, normalise=((0.0,) * 3, (std,) * 3))

    with pytest.raises(ValueError, match="no images of noise"):
        attempt([])
    with pytest.raises(ValueError, match="images 0 to 14"):
        attempt([15])
    with pytest.raises(ValueError, match="batch_size has to be 1 or more, not 0"):
        attempt([1], size=0)
    with pytest.raises(ValueError, match="deviations have to be above 0"):
        attempt([1], std=0.0)


def test_stored_images_are_those_in_memory_in_any_order_from_several_parts(packed: Packed) -> None:
    train, test = packed.indices("train"), packed.indices("test")
    stored = Stored([(packed, train), (packed, test)])
    whole = torch.cat([to_tensor(packed, train), to_tensor(packed, test)])
    assert stored.shape == whole.shape and len(stored) == len(whole)
    places = torch.tensor([14, 0, 3, 11, 3])
    assert torch.equal(stored[places], whole[places])
    assert torch.equal(stored[places[:0]], whole[:0])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_normalising_is_the_same_bit_for_bit_in_either_layout(layout, kind):
    images = torch.randint(256, (5, 3, 7, 6), generator=torch.Generator().manual_seed(0)).to(kind)
    if kind == torch.float32:
        images /= 255
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    given = images.contiguous(memory_format=layout)
    before = given.clone()
    floats = images.float() / 255 if kind == torch.uint8 else images
    expected = (floats - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    for part, wanted in ((given, expected), (given[::2], expected[::2]), (given[:, :, 2:5], expected[:, :, 2:5])):
        assert torch.equal(normalised(part, (mean, std)), wanted)
    assert torch.equal(given, before)
    assert normalised(given, (mean, std)).is_contiguous(memory_format=layout)
