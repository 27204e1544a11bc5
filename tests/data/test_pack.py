import json
from pathlib import Path

import numpy as np
import pytest

from bequest.data.digits import open_fonts
from bequest.data.emoji import open_emoji
from bequest.data.pack import open_packed, pack
from bequest.data.source import Record, Source


def shade(value: int, size: int) -> np.ndarray:
    return np.full((size, size, 3), value, np.uint8)


def tiny(count: int = 6) -> Source:
    from functools import partial

    records = tuple(
        Record(f"r{i}", f"g{i}", i % 2, partial(shade, 10 * i), ("train", "validation", "test")[i % 3])
        for i in range(count)
    )
    return Source("tiny", ("even", "odd"), records, "nobody, public domain")


@pytest.mark.parametrize(
    "source", [open_emoji("line"), open_emoji("mono"), open_fonts()], ids=lambda source: source.name
)
def test_the_bytes_are_the_same_for_any_number_of_workers(source: Source, tmp_path: Path) -> None:
    few = Source(source.name, source.classes, source.records[:60], source.attribution)
    for workers in (1, 2, 5):
        pack(few, tmp_path / str(workers), size=24, workers=workers)
    for name in ("pixels.npy", "index.json"):
        assert len({(tmp_path / str(workers) / name).read_bytes() for workers in (1, 2, 5)}) == 1


def test_what_was_packed_comes_back_memory_mapped_and_read_only(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    packed = pack(tiny(), tmp_path / "made" / "here", size=4, workers=2, progress=lambda *done: seen.append(done))
    assert seen == [(i + 1, 6) for i in range(6)]
    assert isinstance(packed.pixels, np.memmap) and not packed.pixels.flags.writeable
    assert packed.pixels.shape == (6, 4, 4, 3) and packed.pixels[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    assert packed.targets.tolist() == [0, 1] * 3
    assert packed.names == [f"r{i}" for i in range(6)] and packed.groups == [f"g{i}" for i in range(6)]
    assert packed.classes == ("even", "odd") and packed.domain == "tiny" and "nobody" in packed.attribution
    assert {split: packed.indices(split).tolist() for split in ("train", "validation", "test")} == {
        "train": [0, 3],
        "validation": [1, 4],
        "test": [2, 5],
    }
    again = open_packed(tmp_path / "made" / "here")
    assert np.array_equal(again.pixels, packed.pixels) and again.splits == packed.splits
    with pytest.raises(ValueError, match="no split 'valid'; known: train, validation, test"):
        packed.indices("valid")


def test_bad_sizes_and_sources(tmp_path: Path) -> None:
    for size in (0, 5000):
        with pytest.raises(ValueError, match=f"1 to 4096 pixels, not {size}"):
            pack(tiny(), tmp_path, size=size)
    with pytest.raises(ValueError, match="tiny has no images"):
        pack(Source("tiny", ("a",), (), ""), tmp_path, size=4)
    wrong = Source("tiny", ("a",), (Record("odd one", "g", 0, lambda size: np.zeros((size, size)), "train"),), "")
    with pytest.raises(ValueError, match=r"drew odd one as float64 \(4, 4\), not as uint8 \(4, 4, 3\)"):
        pack(wrong, tmp_path, size=4)
    assert not (tmp_path / "index.json").exists()


def test_packing_again_leaves_no_index_while_it_is_unfinished(tmp_path: Path) -> None:
    pack(tiny(), tmp_path, size=4)

    def broken(size: int) -> np.ndarray:
        raise ValueError("r9 is broken")

    records = (*tiny().records, *(Record(name, name, 0, broken, "train") for name in ("r8", "r9")))
    with pytest.raises(ValueError, match="r9 is broken"):
        pack(Source("tiny", ("even", "odd"), records, ""), tmp_path, size=4)
    with pytest.raises(FileNotFoundError, match=r"index\.json is missing; pack it again"):
        open_packed(tmp_path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"index\.json is missing"):
        open_packed(tmp_path)
    pack(tiny(), tmp_path, size=4)
    pixels, index = (tmp_path / "pixels.npy").read_bytes(), json.loads((tmp_path / "index.json").read_text())

    def attempt(data: bytes = pixels, **changes: object) -> None:
        (tmp_path / "pixels.npy").write_bytes(data)
        (tmp_path / "index.json").write_text(json.dumps(index | changes))
        open_packed(tmp_path)

    attempt()
    with pytest.raises(ValueError, match=r"pixels\.npy is damaged"):
        attempt(pixels[:150])
    with pytest.raises(ValueError, match=r"pixels\.npy is damaged"):
        attempt(b"")
    with pytest.raises(ValueError, match=r"holds uint8 \(6, 4, 4, 3\), index.json says uint8 \(6, 5, 5, 3\)"):
        attempt(size=5)
    with pytest.raises(ValueError, match="has format 99, this version reads 1"):
        attempt(format=99)
    with pytest.raises(ValueError, match="unknown class or split"):
        attempt(records=[["a", "g", 2, "train"]] * 6)
    with pytest.raises(ValueError, match="unknown class or split"):
        attempt(records=[["a", "g", 0, "dev"]] * 6)
    with pytest.raises(ValueError, match=r"index\.json is damaged"):
        attempt(records=[["a", "g"]] * 6)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(ValueError, match=r"index\.json is damaged"):
        open_packed(tmp_path)


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    pack(tiny(), tmp_path, size=4)
    np.save(tmp_path / "pixels.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"pixels\.npy is damaged"):
        open_packed(tmp_path)


def spoilt(count: int, bad: set[int]) -> Source:
    from functools import partial

    def draw(index: int, size: int) -> np.ndarray:
        if index in bad:
            raise ValueError(f"file{index} cannot be read")
        return shade(index % 256, size)

    records = tuple(Record(f"r{i}", f"g{i}", i % 2, partial(draw, i), "train") for i in range(count))
    return Source("spoilt", ("even", "odd"), records, "nobody")


@pytest.mark.parametrize("workers", [1, 3])
def test_a_few_broken_images_are_left_out_and_named(tmp_path: Path, workers: int) -> None:
    with pytest.warns(
        UserWarning, match="2 of 1,200 images of spoilt cannot be drawn and are left out: file7 .*, file900"
    ):
        pack(spoilt(1200, {7, 900}), tmp_path, size=3, workers=workers)
    packed = open_packed(tmp_path)
    kept = [i for i in range(1200) if i not in {7, 900}]
    assert packed.left_out == (("r7", "file7 cannot be read"), ("r900", "file900 cannot be read"))
    assert packed.names == [f"r{i}" for i in kept] and packed.targets.tolist() == [i % 2 for i in kept]
    assert packed.pixels[:, 2, 1, 0].tolist() == [i % 256 for i in kept]


def test_many_broken_images_are_refused_in_one_list_after_all_were_tried(tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(
        ValueError,
        match=r"13 of 50 .* cannot be drawn, and at most one in a hundred is left out: file0 .*file36 .* and 3 more",
    ):
        pack(spoilt(50, set(range(0, 50, 4))), tmp_path, size=3, progress=lambda done, _: seen.append(done))
    assert seen[-1] == 50 and not (tmp_path / "index.json").exists()
    with pytest.raises(FileNotFoundError, match="is not a packed set"):
        open_packed(tmp_path)


def test_a_mistake_in_a_reader_is_no_broken_image(tmp_path: Path) -> None:
    def draw(size: int) -> np.ndarray:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        pack(Source("x", ("a",), (Record("r", "g", 0, draw, "train"),) * 200, "nobody"), tmp_path, size=3)


def test_several_labels_come_back_with_nan_for_missing(tmp_path: Path) -> None:
    targets = [(0.0, 1.0), (None, 0.0), (1.0, 1.0)]
    records = tuple(Record(f"r{i}", f"g{i}", t, lambda size: shade(1, size), "train") for i, t in enumerate(targets))
    source = Source("several", ("a", "b"), records, "nobody")
    pack(source, tmp_path, size=2)
    packed = open_packed(tmp_path)
    assert source.multilabel and packed.multilabel and not open_packed_is_multilabel(tiny(), tmp_path / "tiny")
    assert packed.targets.nan_to_num(-1).tolist() == [[0, 1], [-1, 0], [1, 1]]
    index = json.loads((tmp_path / "index.json").read_text())
    for bad, message in [([0.0], "not one target for each"), ([0.0, 2.0], "unknown class"), (1, "damaged")]:
        index["records"][1][2] = bad
        (tmp_path / "index.json").write_text(json.dumps(index))
        with pytest.raises(ValueError, match=message):
            open_packed(tmp_path)


def open_packed_is_multilabel(source: Source, folder: Path) -> bool:
    return pack(source, folder, size=2).multilabel


def test_one_broken_image_is_left_out_of_any_set(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 of 6 images of spoilt cannot be drawn and are left out"):
        packed = pack(spoilt(6, {3}), tmp_path, size=3)
    assert len(packed.names) == 5
