import math

import pytest
import torch
from torch import Tensor

from bequest.data.augment import augment, mixup

KINDS = ["crop", "flip", "rotate", "crop+flip+rotate"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 8, height: int = 12, width: int = 12) -> Tensor:
    return torch.rand(n, 3, height, width, generator=seeded(99))


def test_none_changes_nothing_and_takes_no_random_numbers() -> None:
    generator = seeded()
    state = generator.get_state()
    images = pictures()
    assert torch.equal(augment(images, kind="none", generator=generator), images)
    assert torch.equal(generator.get_state(), state)
    whole = torch.arange(256, dtype=torch.uint8).expand(1, 3, 2, 256)
    assert torch.equal(augment(whole, kind="none", generator=generator), whole.float() / 255)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_of_the_generator_decides(kind: str) -> None:
    images = pictures()
    generator = seeded(1)
    first, second = (augment(images, kind=kind, generator=generator) for _ in range(2))
    assert torch.equal(first, augment(images, kind=kind, generator=seeded(1)))
    assert not torch.equal(first, second)
    assert not torch.equal(first, augment(images, kind=kind, generator=seeded(2)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_advances_alike_whatever_the_content_and_kind(kind: str) -> None:
    a, b, c = seeded(), seeded(), seeded()
    augment(pictures(), kind=kind, generator=a)
    augment(torch.zeros(8, 3, 30, 20), kind=kind, generator=b)
    augment(pictures(), kind="flip", generator=c)
    assert torch.equal(a.get_state(), b.get_state()) and torch.equal(a.get_state(), c.get_state())


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    augment(pictures(), kind="crop+flip+rotate", generator=seeded())
    mixup(pictures(), torch.zeros(8, dtype=torch.int64), alpha=0.7, classes=2, generator=seeded())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", KINDS)
def test_shape_range_and_white_border_are_kept(kind: str) -> None:
    images = pictures(16, 10, 14)
    varied = augment(images, kind=kind, generator=seeded())
    assert varied.shape == images.shape and varied.dtype == torch.float32
    assert varied.min() >= -1e-6 and varied.max() <= 1 + 1e-6
    white = torch.ones(16, 3, 10, 14)
    assert (augment(white, kind=kind, generator=seeded()) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_uint8_and_memory_format(kind: str) -> None:
    whole = torch.randint(0, 256, (4, 3, 9, 9), dtype=torch.uint8, generator=seeded())
    expected = augment(whole.float() / 255, kind=kind, generator=seeded(5))
    assert torch.equal(augment(whole, kind=kind, generator=seeded(5)), expected)
    last = whole.contiguous(memory_format=torch.channels_last)
    varied = augment(last, kind=kind, generator=seeded(5))
    assert varied.is_contiguous(memory_format=torch.channels_last)
    assert (varied - expected).abs().max() < 1e-5


def test_flip_mirrors_about_half_of_the_images_exactly() -> None:
    images = pictures(200)
    varied = augment(images, kind="flip", generator=seeded())
    mirrored = (varied - images.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    same = (varied - images).abs().amax((1, 2, 3)) < 1e-4
    assert bool((mirrored ^ same).all())
    assert 70 < int(mirrored.sum()) < 130


def test_crop_of_the_whole_area_without_stretch_is_the_image_and_small_crops_enlarge() -> None:
    down, right = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="ij")
    ramp = torch.stack([down, right, down * 0]).expand(64, 3, 32, 32)
    for scale in ((0.25, 0.25), (0.8, 0.8)):
        varied = augment(ramp, kind="crop", generator=seeded(), scale=scale)
        # On a ramp, the range that a crop shows is its side; the product of both sides is the area that is kept.
        sides = [varied[:, c].amax((1, 2)) - varied[:, c].amin((1, 2)) for c in (0, 1)]
        area = (sides[0] * sides[1]).mean()
        assert abs(float(area) - scale[0]) < 0.06
        ratio = (sides[1] / sides[0]).log()
        assert ratio.abs().max() < math.log(4 / 3) + 0.12


def test_rotation_turns_about_the_middle_by_the_same_angle_in_both_axes() -> None:
    # A point to the right of the middle stays at its distance, on canvases that are not square too.
    image = torch.zeros(32, 3, 41, 61)
    image[:, :, 20, 45] = 1.0
    varied = augment(image, kind="rotate", generator=seeded(), degrees=30)
    weight = varied[:, 0]
    rows = (weight * torch.arange(41)[:, None]).sum((1, 2)) / weight.sum((1, 2)) - 20
    columns = (weight * torch.arange(61)).sum((1, 2)) / weight.sum((1, 2)) - 30
    assert (torch.hypot(rows, columns) - 15).abs().max() < 0.5
    angles = torch.rad2deg(torch.atan2(rows, columns))
    assert angles.abs().max() < 32 and angles.min() < -10 and angles.max() > 10


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("flipp", "no augmentation 'flipp'; did you mean 'flip'"),
        ("crop+rotat", "no augmentation 'rotat'; did you mean 'rotate'"),
        ("", "no augmentation ''; Known: none, crop"),
        ("none+crop", "joins none with something"),
    ],
)
def test_unknown_kinds(kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        augment(pictures(), kind=kind, generator=seeded())


@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.9, 0.5), (0.5, 1.5)])
def test_scale_out_of_range(scale: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="scale of a crop"):
        augment(pictures(), kind="crop", generator=seeded(), scale=scale)


def test_mixup_mixes_images_and_classes_with_one_share() -> None:
    images, targets = torch.eye(6).view(6, 6, 1, 1), torch.arange(6)
    for seed in range(30):
        mixed, soft = mixup(images, targets, alpha=0.7, classes=6, generator=seeded(seed))
        assert torch.allclose(soft.sum(1), torch.ones(6)) and soft.min() >= 0
        # The image of class k is the k-th unit vector, so that the mixed image is its own soft target.
        assert torch.allclose(mixed.flatten(1), soft, atol=1e-6)
        shares = soft.diagonal()
        assert len({round(float(share), 5) for share in shares if share < 1}) <= 1


def test_mixup_share_has_the_moments_of_its_beta() -> None:
    images, targets = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.arange(2)
    shares = []
    for seed in range(3000):
        mixed, _ = mixup(images, targets, alpha=0.7, classes=2, generator=seeded(seed))
        shares.append(float(mixed[1]) if mixed[0] != mixed[1] or mixed[0] != 0 else 1.0)
    values = torch.tensor(shares)
    mixed_pairs = values[values < 1]
    # Var Beta(a, a) = 1 / (4 (2 a + 1)).
    assert abs(float(mixed_pairs.mean()) - 0.5) < 0.03
    assert abs(float(mixed_pairs.var()) - 1 / (4 * 2.4)) < 0.012


def test_mixup_of_nothing_and_bad_alpha() -> None:
    images, targets = pictures(3), torch.tensor([2, 0, 1])
    mixed, soft = mixup(images, targets, alpha=0.0, classes=3, generator=seeded())
    assert torch.equal(mixed, images) and soft.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    for alpha in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="alpha has to be 0 or more"):
            mixup(images, targets, alpha=alpha, classes=3, generator=seeded())
    for seed in range(20):
        mixed, soft = mixup(images, targets, alpha=1e-6, classes=3, generator=seeded(seed))
        assert bool(mixed.isfinite().all()) and bool(soft.isfinite().all())


def test_mixed_labels_stay_missing_where_one_is():
    images = torch.zeros(4, 3, 2, 2)
    labels = torch.tensor([[1.0, torch.nan], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    generator = torch.Generator().manual_seed(0)
    _, mixed = mixup(images, labels, alpha=0.7, classes=2, generator=generator)
    known = mixed[~mixed.isnan()]
    assert 1 <= mixed.isnan().sum() <= 2 and not mixed[:, 0].isnan().any()
    assert ((known >= 0) & (known <= 1)).all()
    assert torch.equal(
        mixup(images, labels, alpha=0, classes=2, generator=generator)[1].nan_to_num(9), labels.nan_to_num(9)
    )
