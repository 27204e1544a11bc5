import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bequest.data.batches import normalised
from bequest.data.block_shuffle import (
    block_sizes,
    count_blocks,
    draw_permutation,
    draw_permutations,
    moved_fraction,
    shuffle_blocks,
)

SIZES = (1, 2, 4, 7, 8, 14, 16, 28, 32, 56, 112, 224)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 3, height: int = 12, width: int = 12, channels: int = 3) -> Tensor:
    return torch.rand(n, channels, height, width, generator=seeded(9))


def twin(images: Tensor, block: int | str, permutation: Tensor) -> Tensor:
    """The paper's code, an image at a time."""
    height, width = images.shape[2:]
    shuffled = []
    for image in images:
        if block == "pixel-channel":
            shuffled.append(image.reshape(-1)[permutation].reshape(image.shape))
            continue
        unfold = nn.Unfold(kernel_size=block, stride=block)
        fold = nn.Fold((height, width), kernel_size=block, stride=block)
        shuffled.append(fold(unfold(image[None])[..., permutation])[0])
    return torch.stack(shuffled)


@pytest.mark.parametrize(
    ("block", "seed", "start"),
    [
        (56, 0, [13, 11, 0, 12, 14, 2, 10, 7, 1, 9, 8, 4, 5, 6, 3, 15]),
        (56, 1, [1, 4, 9, 10, 5, 13, 15, 0, 8, 6, 12, 7, 3, 14, 2, 11]),
        (56, 2, [5, 0, 2, 10, 15, 6, 14, 4, 7, 13, 8, 9, 12, 1, 11, 3]),
        (8, 0, [529, 511, 328, 133, 532, 378, 156, 305]),
        (1, 0, [26743, 44688, 15091, 18130, 39943, 36451, 11435, 40715]),
        ("pixel-channel", 0, [12638, 36499, 13963, 96884, 30482, 102161]),
        (112, 1, [1, 0, 2, 3]),
        (112, 2, [2, 0, 1, 3]),
    ],
)
def test_permutations_of_the_paper(block: int | str, seed: int, start: list[int]) -> None:
    order, redrawn = draw_permutation(count_blocks((3, 224, 224), block), seed)
    assert order[: len(start)].tolist() == start
    assert redrawn == 0


def test_the_identity_is_drawn_again_and_counted() -> None:
    stream = np.random.RandomState(1234)
    assert stream.permutation(4).tolist() == [0, 1, 2, 3]
    order, redrawn = draw_permutation(4, 0)
    assert (order.tolist(), redrawn) == (stream.permutation(4).tolist(), 1)
    assert order.tolist() != [0, 1, 2, 3]
    assert draw_permutation(1, 0)[0].tolist() == [0]


def test_moved_fraction() -> None:
    assert moved_fraction(torch.tensor([1, 0, 2, 3])) == 0.5
    assert moved_fraction(torch.tensor([[0, 1, 2], [1, 2, 0]])) == 0.5
    assert moved_fraction(torch.arange(5)) == 0.0


@pytest.mark.parametrize("block", [1, 2, 3, 4, 6, 12, "pixel-channel"])
@pytest.mark.parametrize("kind", [torch.float32, torch.uint8, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_equal_to_the_papers_code(block: int | str, kind: torch.dtype, memory: torch.memory_format) -> None:
    whole = (255 * pictures(height=12, width=24)).floor()
    order, _ = draw_permutation(count_blocks(whole.shape, block), 3)
    images = whole.to(kind).contiguous(memory_format=memory)
    kept = images.clone()
    found = shuffle_blocks(images, block, permutation=order)
    assert torch.equal(found, twin(whole, block, order).to(kind))
    assert found.dtype == kind and found.is_contiguous(memory_format=memory)
    assert torch.equal(images, kept)
    assert torch.equal(found, shuffle_blocks(images, block, seed=3))


@pytest.mark.parametrize("block", [1, 4, "pixel-channel"])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_permutation_for_each_image(block: int | str, memory: torch.memory_format) -> None:
    images = pictures(n=4, width=8).contiguous(memory_format=memory)
    orders, _ = draw_permutations(4, count_blocks(images.shape, block), generator=seeded(1))
    found = shuffle_blocks(images, block, generator=seeded(1))
    for image, order, one in zip(images, orders, found, strict=True):
        assert torch.equal(one, twin(image[None].contiguous(), block, order)[0])
    assert found.is_contiguous(memory_format=memory)
    assert torch.equal(found, shuffle_blocks(images, block, permutation=orders))
    assert not torch.equal(orders[0], orders[1])


def test_permutations_for_images_leave_out_the_identity_and_are_else_uniform() -> None:
    orders, redrawn = draw_permutations(6000, 3, generator=seeded())
    codes = (orders * torch.tensor([9, 3, 1])).sum(1)
    values, counts = codes.unique(return_counts=True)
    assert len(values) == 5 and 5 not in values  # 5 = 0 * 9 + 1 * 3 + 2, the identity
    assert (counts - 1200).abs().max() < 150  # five standard deviations
    assert 1000 < redrawn < 1400  # a sixth, again and again: 6000 / 5
    assert draw_permutations(3, 1, generator=seeded())[0].tolist() == [[0]] * 3


@given(block=st.sampled_from([1, 2, 3, 6]), seed=st.integers(0, 2**63 - 1))
def test_undone_by_the_inverse_and_keeps_every_block(block: int, seed: int) -> None:
    images = pictures(n=2, height=6, width=6)
    order, _ = draw_permutation(count_blocks(images.shape, block), seed)
    found = shuffle_blocks(images, block, permutation=order)
    assert torch.equal(shuffle_blocks(found, block, permutation=order.argsort()), images)
    cells = [
        part.unfold(2, block, block).unfold(3, block, block).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3 * block**2)
        for part in (images, found)
    ]
    assert sorted(cells[0].tolist()) == sorted(cells[1].tolist())


def test_whole_blocks_may_be_shuffled_before_normalising() -> None:
    images = (255 * pictures()).to(torch.uint8)
    scale = ((0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
    before = normalised(shuffle_blocks(images, 3, seed=1), scale)
    assert torch.equal(before, shuffle_blocks(normalised(images, scale), 3, seed=1))
    mixed = normalised(shuffle_blocks(images, "pixel-channel", seed=1), scale)
    assert not torch.allclose(mixed, shuffle_blocks(normalised(images, scale), "pixel-channel", seed=1))


def test_gradients_follow_the_blocks() -> None:
    images = pictures().requires_grad_()
    shuffle_blocks(images, 4, seed=0)[:, :, :4, :4].sum().backward()
    source = int(draw_permutation(9, 0)[0][0])
    row, column = divmod(source, 3)
    assert images.grad is not None
    assert (
        images.grad.sum() == images.grad[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].sum() == 3 * 3 * 16
    )


def test_the_unshuffled_image_is_one_block() -> None:
    images = pictures()
    assert torch.equal(shuffle_blocks(images, 12, seed=0), images)


def test_block_sizes() -> None:
    assert block_sizes(224) == SIZES
    assert block_sizes(7) == (1, 7)


def test_bad_input_is_refused() -> None:
    images = pictures(height=12, width=18)
    with pytest.raises(ValueError, match=r"blocks of 5 pixels do not divide an image of 12 x 18; these do: 1, 2, 3, 6"):
        shuffle_blocks(images, 5, seed=0)
    with pytest.raises(ValueError, match="these do"):
        shuffle_blocks(images, 0, seed=0)
    with pytest.raises(ValueError, match="'pixel-channel', not '\\*'"):
        shuffle_blocks(images, "*", seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not none of them"):
        shuffle_blocks(images, 6)
    with pytest.raises(ValueError, match="not seed and generator"):
        shuffle_blocks(images, 6, seed=0, generator=seeded())
    for wrong in ([0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4, 6], [-1, 1, 2, 3, 4, 5]):
        with pytest.raises(ValueError, match="each once"):
            shuffle_blocks(images, 6, permutation=wrong)
    with pytest.raises(ValueError, match=r"shape \[6\] or \[3, 6\], not \[5\]"):
        shuffle_blocks(images, 6, permutation=[0, 1, 2, 3, 4])
    with pytest.raises(ValueError, match=r"B, C, H, W"):
        shuffle_blocks(images[0], 6, seed=0)


@pytest.mark.parametrize("which", ["one", "each"])
def test_threads_change_nothing(which):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (5, 3, 288, 288), generator=generator).to(torch.uint8)  # enough bytes for threads
    several = draw_permutations(5, 36, generator=generator)[0]
    order = torch.randperm(36, generator=generator) if which == "one" else several
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = shuffle_blocks(images, 48, permutation=order)
        torch.set_num_threads(3)
        assert torch.equal(shuffle_blocks(images, 48, permutation=order), alone)
    finally:
        torch.set_num_threads(threads)
