import json
from collections import Counter
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from bequest.data import parquet as room
from bequest.data.doors import open_source
from bequest.data.pack import pack


def image(shade: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (6, 6), (shade, 7, 9)).save(file, "PNG")
    return file.getvalue()


def shard(path: Path, shades: range, *, labels: list[object] | None = None, names: list[str] | None = None) -> Path:
    """A shard as `datasets` writes it: a struct of bytes and path, a number, and the features in the metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(
        {
            "image": [{"bytes": image(shade), "path": f"{shade}.png"} for shade in shades],
            "label": labels or [shade % 2 for shade in shades],
        }
    )
    kind = {"names": names, "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    told = {"info": {"features": {"image": {"_type": "Image"}, "label": kind}}}
    frame.write_parquet(path, metadata={"huggingface": json.dumps(told)}, row_group_size=4)
    return path


def pets(root: Path) -> Path:
    shard(root / "data" / "train-00000-of-00002.parquet", range(10), names=["dog", "cat"])
    shard(root / "data" / "train-00001-of-00002.parquet", range(10, 20), names=["dog", "cat"])
    shard(root / "data" / "test-00000-of-00001.parquet", range(20, 26), names=["dog", "cat"])
    return root


@pytest.mark.parametrize("block", [256, 3])
def test_shards_of_bytes_with_named_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(room, "BLOCK", block)
    room._block.cache_clear()
    source = open_source(f"hub:{pets(tmp_path / 'pets')}")
    assert source.name == "hub:pets" and source.classes == ("dog", "cat")  # in the order of their numbers
    assert Counter(record.split for record in source.records) == {"test": 6, "train": 16, "validation": 4}
    packed = pack(source, tmp_path / "packed", size=6, workers=3)
    assert packed.pixels[:, 0, 0, 0].tolist() == [*range(20, 26), *range(20)]  # shards by name: test before train
    assert packed.targets.tolist() == [shade % 2 for shade in packed.pixels[:, 0, 0, 0].tolist()]
    assert packed.names[0] == "data/test-00000-of-00001.parquet#0"
    room._block.cache_clear()


def test_names_come_from_the_readme_too(tmp_path: Path) -> None:
    shard(tmp_path / "train.parquet", range(12))
    (tmp_path / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n"
        "      class_label:\n        names:\n          '0': dog\n          '1': cat\n---\n# Pets\n"
    )
    assert open_source(f"hub:{tmp_path}").classes == ("dog", "cat")
    (tmp_path / "README.md").write_text("---\n: [\n---\n")
    assert open_source(f"hub:{tmp_path}").classes == ("0", "1")


def test_words_plain_bytes_and_several_labels(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "picture": [image(shade) for shade in range(12)],
            "kind": ["cat" if shade % 2 else "dog" for shade in range(12)],
            "tags": [["red"], ["blue", "red"], []] * 4,
        }
    )
    frame.write_parquet(tmp_path / "x.parquet")
    source = open_source(f"hub:{tmp_path}?label=kind")
    assert source.classes == ("cat", "dog") and source.records[0].target == 1
    several = open_source(f"hub:{tmp_path}?label=tags")
    assert several.multilabel and several.classes == ("blue", "red")
    assert [record.target for record in several.records[:3]] == [(0, 1), (1, 1), (0, 0)]
    with pytest.raises(ValueError, match=r"no column of labels; say label=COLUMN with one of: picture, kind, tags"):
        open_source(f"hub:{tmp_path}")
    with pytest.raises(ValueError, match=r"no column of images 'kind'; say image=COLUMN with one of: picture"):
        open_source(f"hub:{tmp_path}?label=kind&image=kind")


def test_hidden_labels_are_left_out(tmp_path: Path) -> None:
    pets(tmp_path)
    shard(tmp_path / "data" / "test-00000-of-00001.parquet", range(20, 26), labels=[-1] * 6, names=["dog", "cat"])
    with pytest.warns(UserWarning, match=r"6 rows of .* have no public label \(-1\) and are left out"):
        source = open_source(f"hub:{tmp_path}")
    assert len(source.records) == 20 and {record.split for record in source.records} == {"train", "validation", "test"}


def test_a_class_out_of_range_and_a_missing_one(tmp_path: Path) -> None:
    shard(tmp_path / "x.parquet", range(12), labels=[*([0, 1] * 5), 2, 1], names=["dog", "cat"])
    with pytest.raises(ValueError, match=r"x\.parquet#10 has the class 2, .* but .*x\.parquet names 2: dog, cat"):
        open_source(f"hub:{tmp_path}")
    shard(tmp_path / "x.parquet", range(12), labels=[*([0, 1] * 5), None, 1])
    with pytest.raises(ValueError, match=r"x\.parquet#10 has no label"):
        open_source(f"hub:{tmp_path}")


def test_copies_in_test_are_left_out_of_train(tmp_path: Path) -> None:
    pets(tmp_path)
    shard(tmp_path / "data" / "test-00000-of-00001.parquet", range(5, 11), names=["dog", "cat"])
    with pytest.warns(UserWarning, match="6 train images of .* are left out"):
        assert len(open_source(f"hub:{tmp_path}").records) == 20


def test_a_broken_image_in_a_shard_is_named_with_its_row(tmp_path: Path) -> None:
    contents = [image(shade) for shade in range(12)]
    contents[5] = contents[5][:40]
    frame = pl.DataFrame({"image": contents, "label": [0, 1] * 6})
    frame[7, "image"] = None
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"2 of 12 images .*x\.parquet#5 cannot be read .*x\.parquet#7 .*has no bytes"):
        pack(open_source(f"hub:{tmp_path}"), tmp_path / "packed", size=6)


def test_damaged_shards_and_several_configurations(tmp_path: Path) -> None:
    path = shard(tmp_path / "one" / "x.parquet", range(12))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"x\.parquet cannot be read as Parquet"):
        open_source(f"hub:{tmp_path / 'one'}")
    for config in ("large", "small"):
        shard(tmp_path / "two" / config / "train-0.parquet", range(12))
    with pytest.raises(ValueError, match="several configurations; say config=NAME with one of: large, small"):
        open_source(f"hub:{tmp_path / 'two'}")
    assert len(open_source(f"hub:{tmp_path / 'two'}?config=small").records) == 12
    pets(tmp_path / "three")
    pl.DataFrame({"picture": [b"x"], "label": [1]}).write_parquet(tmp_path / "three" / "data" / "train-9.parquet")
    with pytest.raises(ValueError, match=r"train-9\.parquet has other columns"):
        open_source(f"hub:{tmp_path / 'three'}")
