from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bequest.data.doors import open_source
from bequest.data.hub import side_of
from bequest.data.pack import pack


def save(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), (shade, 7, 9)).save(path)
    return path


def metadata(root: Path, kind: str, *, count: int = 12, side: str = "") -> Path:
    lines = []
    for index in range(count):
        save(root / side / "pictures" / f"test_{index}.png", index + (100 if side == "test" else 0))
        label = "cat" if index % 2 else "dog"
        text = f'{{"file_name": "pictures/test_{index}.png", "label": "{label}"}}'
        lines.append(text if kind == "jsonl" else f"pictures/test_{index}.png,{label}")
    head = [] if kind == "jsonl" else ["file_name,label"]
    (root / side / f"metadata.{kind}").write_text("\n".join([*head, *lines]) + "\n")
    return root


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_image_folder_with_metadata(tmp_path: Path, kind: str) -> None:
    source = open_source(f"hub:{metadata(tmp_path / 'pets', kind)}")
    assert source.name == "hub:pets" and source.classes == ("cat", "dog")
    counts = Counter((record.target, record.split) for record in source.records)
    assert counts == {(t, s): n for t in (0, 1) for s, n in (("train", 3), ("validation", 1), ("test", 2))}
    assert pack(source, tmp_path / "packed", size=6).pixels[:, 0, 0, 0].tolist() == list(range(12))


def test_metadata_in_split_folders(tmp_path: Path) -> None:
    metadata(tmp_path, "csv", side="train", count=16)
    metadata(tmp_path, "jsonl", side="test", count=4)
    source = open_source(f"hub:{tmp_path}")
    sides = Counter(record.split for record in source.records)
    assert sides == {"train": 12, "validation": 4, "test": 4}
    assert {record.name.split("/")[0] for record in source.records if record.split == "test"} == {"test"}


def test_an_image_folder_without_metadata(tmp_path: Path) -> None:
    for label in ("owl", "duck"):
        for index in range(6):
            save(tmp_path / label / f"{index}.png", index + 50 * (label == "owl"))
    source = open_source(f"hub:{tmp_path}?fit=pad")
    assert source.classes == ("duck", "owl") and source.recipe == "pad" and source.name.startswith("hub:")
    for option in ("image=x", "label=x"):
        with pytest.raises(ValueError, match=f"leave {option} out"):
            open_source(f"hub:{tmp_path}?{option}")


@pytest.mark.parametrize(
    ("path", "side"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/validation-00000-of-00001-0a1b.parquet", "validation"),
        ("test/0000.parquet", "test"),
        ("my_val.tar", "validation"),
        ("shards/imagenet-dev-3.tar", "validation"),
        ("data/part-0.parquet", None),
        ("constraint/latest.tar", None),
    ],
)
def test_sides_are_words_of_the_path(tmp_path: Path, path: str, side: str | None) -> None:
    assert side_of(tmp_path, tmp_path / path) == side


def cached(home: Path, monkeypatch: pytest.MonkeyPatch, revisions: int = 1) -> Path:
    """A cache as the hub's own downloader lays it out: snapshots of links to blobs."""
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    stored = home / "hub" / "datasets--org--pets"
    for revision in range(revisions):
        snapshot = stored / "snapshots" / f"abc{revision}"
        for label in ("cat", "dog"):
            for index in range(6):
                shade = 10 * revision + index + 100 * (label == "cat")
                blob = save(stored / "blobs" / f"{shade}.png", shade)
                place = snapshot / label / f"{index}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(blob)
    return stored


def test_a_name_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = cached(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    source = open_source("hub:org/pets")
    assert source.name == "hub:pets" and len(source.records) == 12 and source.classes == ("cat", "dog")
    secret = save(tmp_path / "secret.png", 3)
    (stored / "snapshots" / "abc0" / "cat" / "link.png").symlink_to(secret)
    with pytest.raises(ValueError, match=r"link\.png is a link to .*secret\.png, outside of"):
        open_source("hub:org/pets")


def test_of_several_snapshots_main_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = cached(tmp_path, monkeypatch, revisions=2)
    with pytest.raises(ValueError, match=r"holds 2 snapshots and no word which is main"):
        open_source("hub:org/pets")
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("abc1")
    image = open_source("hub:org/pets").records[0].draw(6)
    assert image[0, 0, 0] == 110


@pytest.mark.parametrize("name", ["org/other", "../../nowhere", "org/pets/extra", "/nowhere/at/all"])
def test_a_name_that_is_not_there_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    cached(tmp_path, monkeypatch)
    with pytest.raises(FileNotFoundError, match=r"is no folder and not in the cache .*; nothing is downloaded here"):
        open_source(f"hub:{name}")


def test_layouts_that_are_not_read_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "data-00000-of-00001.arrow").write_bytes(b"x")
    with pytest.raises(ValueError, match="written by save_to_disk; write it with to_parquet instead"):
        open_source(f"hub:{tmp_path / 'a'}")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.tar.gz").write_bytes(b"x")
    with pytest.raises(ValueError, match="compressed shards"):
        open_source(f"hub:{tmp_path / 'b'}")
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        open_source(f"hub:{tmp_path / 'c'}")
    with pytest.raises(FileNotFoundError, match="has no folder x; config is"):
        open_source(f"hub:{tmp_path / 'c'}?config=x")


def test_metadata_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    root = metadata(tmp_path / "pets", "csv")
    save(tmp_path / "secret.png", 1)
    (root / "metadata.csv").write_text((root / "metadata.csv").read_text() + "../secret.png,cat\n")
    with pytest.raises(ValueError, match=r"metadata\.csv:14: '\.\./secret\.png' is no path inside of"):
        open_source(f"hub:{root}")


def test_pixels_are_cropped_or_padded(tmp_path: Path) -> None:
    root = metadata(tmp_path, "csv")
    path = root / "pictures" / "test_0.png"
    Image.fromarray(np.full((6, 3, 3), 77, np.uint8)).save(path)
    assert (open_source(f"hub:{root}").records[0].draw(6) == 77).all()
    assert (open_source(f"hub:{root}?fit=pad").records[0].draw(6)[:, 3:] == 128).all()
