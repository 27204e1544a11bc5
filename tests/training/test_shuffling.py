"""A run sees every image through the same shuffle each time, whatever the batch it comes in."""

import pytest
import torch

from bequest.data.block_shuffle import draw_permutation, shuffle_blocks
from bequest.training.shuffling import Shuffle, ShuffledBatches


def pictures(n=6, side=8):
    return torch.arange(n * 3 * side * side, dtype=torch.float32).view(n, 3, side, side)


@pytest.mark.parametrize("block", [1, 2, 4, "pixel-channel"])
def test_fixed_is_the_papers_permutation_of_the_replica_for_every_image(block):
    images = pictures()
    n = 192 if block == "pixel-channel" else (8 // block) ** 2
    expected = shuffle_blocks(images, block, permutation=draw_permutation(n, 2)[0])
    found = Shuffle(block, "fixed", 2)(images, "train", torch.arange(6))
    assert torch.equal(found, expected)
    assert not torch.equal(found, Shuffle(block, "fixed", 1)(images, "train", torch.arange(6)))


def test_per_image_depends_on_the_image_alone_not_on_its_batch():
    images, shuffle = pictures(), Shuffle(2, "per_image", 0)
    whole = shuffle(images, "train", torch.arange(6))
    order = torch.tensor([4, 1, 5])
    assert torch.equal(shuffle(images[order], "train", order), whole[order])
    assert not torch.equal(shuffle(images, "test", torch.arange(6)), whole)


def test_per_image_gives_images_different_permutations_and_keeps_their_pixels():
    images = pictures(1).expand(6, -1, -1, -1)
    found = Shuffle(2, "per_image", 0)(images, "train", torch.arange(6))
    assert len({tuple(image.flatten().tolist()) for image in found}) == 6
    assert torch.equal(found.flatten(1).sort(1).values, images.flatten(1).sort(1).values)


def test_two_blocks_are_always_swapped_as_the_identity_is_drawn_again():
    shuffle = Shuffle(2, "per_image", 0)
    orders = shuffle.orders((9, 3, 2, 4), "train", torch.arange(9))
    assert orders.tolist() == [[1, 0]] * 9
    assert shuffle.moved((9, 3, 2, 4), "train", 9) == 1.0


def test_the_share_of_moved_blocks_is_that_of_the_permutation():
    order, _ = draw_permutation(16, 0)
    expected = sum(place != number for number, place in enumerate(order.tolist())) / 16
    assert Shuffle(2, "fixed", 0).moved((5, 3, 8, 8), "train", 5) == expected


def test_shuffled_batches_are_the_same_on_every_walk_and_equal_the_whole():
    images, targets = pictures(), torch.arange(6)
    plain = [(images[:4], targets[:4]), (images[4:], targets[4:])]
    shuffle = Shuffle(4, "per_image", 3)
    seen = ShuffledBatches(plain, shuffle, "test")
    assert len(seen) == 2
    for _ in range(2):
        walked = list(seen)
        assert torch.equal(torch.cat([batch for batch, _ in walked]), shuffle(images, "test", torch.arange(6)))
        assert torch.equal(torch.cat([of for _, of in walked]), targets)
