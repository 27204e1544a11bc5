import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from bequest.data.doors import open_source
from bequest.data.pack import pack


def image(shade: int, kind: str = "PNG") -> bytes:
    file = BytesIO()
    Image.new("RGB", (6, 6), (shade, 7, 9)).save(file, kind)
    return file.getvalue()


def shard(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return path


def numbered(shades: range, label: str = "cls") -> list[tuple[str, bytes]]:
    files = []
    for shade in shades:
        text = json.dumps({"label": shade % 2, "width": 6}) if label == "json" else f"{shade % 2}\n"
        files += [(f"a/{shade:04}.{label}", text.encode()), (f"a/{shade:04}.png", image(shade))]
    return files


@pytest.mark.parametrize("label", ["cls", "json"])
def test_shards_are_read_where_they_lie(tmp_path: Path, label: str) -> None:
    shard(tmp_path / "pets" / "train-000.tar", numbered(range(12), label))
    shard(tmp_path / "pets" / "train-001.tar", numbered(range(12, 16), label))
    shard(tmp_path / "pets" / "val-000.tar", numbered(range(16, 20), label))
    (tmp_path / "pets" / "classnames.txt").write_text("dog\ncat\n")
    source = open_source(f"hub:{tmp_path / 'pets'}")
    assert source.name == "hub:pets" and source.classes == ("dog", "cat")
    sides = Counter(record.split for record in source.records)
    assert sides["validation"] == 4 and sides["train"] + sides["test"] == 16 and sides["test"] >= 4
    packed = pack(source, tmp_path / "packed", size=6, workers=3)
    assert packed.pixels[:, 0, 0, 0].tolist() == list(range(20)) and packed.targets.tolist() == [0, 1] * 10
    assert packed.names[12] == "train-001.tar/a/0012"


def test_words_and_other_fields(tmp_path: Path) -> None:
    files = []
    for shade in range(12):
        told = {"kind": "cat" if shade % 2 else "dog"}
        files += [(f"{shade}.jpg", image(20 * shade, "JPEG")), (f"{shade}.json", json.dumps(told).encode())]
    shard(tmp_path / "x.tar", files)
    assert open_source(f"hub:{tmp_path}?label=kind").classes == ("cat", "dog")
    with pytest.raises(ValueError, match=r"x\.tar/0 has no class; say label=NAME with one of: json, kind"):
        open_source(f"hub:{tmp_path}")


def test_links_in_an_archive_touch_no_file(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", numbered(range(12)))
    with tarfile.open(path, "a") as archive:
        for name, kind in (
            ("evil.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("device.png", tarfile.CHRTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        for name, content in (("../../up.cls", b"1"), ("../../up.png", image(99))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    source = open_source(f"hub:{tmp_path}")
    assert len(source.records) == 13  # the one with dots is a name like any other
    assert source.records[-1].draw(6)[0, 0, 0] == 99 and not (tmp_path.parent / "up.png").exists()


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    good = numbered(range(12))
    for extra, message in [
        ([("b.cls", b"1")], r"x\.tar/b has no image"),
        ([("b.png", image(77))], r"x\.tar/b has no class; say label=NAME with one of: \(there is only the image\)"),
        ([("b.png", image(77)), ("b.jpg", image(78)), ("b.cls", b"1")], r"x\.tar has two images, or .*, in b"),
        ([("b.png", image(77)), ("b.json", b"{")], r"x\.tar/b\.json: "),
        ([("b.png", image(77)), ("b.cls", b"swan")], "swan has 1"),
        (good[:2], r"names x\.tar/a/0000 twice"),
    ]:
        shard(tmp_path / "x.tar", [*good, *extra])
        with pytest.raises(ValueError, match=message):
            open_source(f"hub:{tmp_path}")


def test_truncated_shards_and_broken_images(tmp_path: Path) -> None:
    path = shard(tmp_path / "one" / "x.tar", numbered(range(12)))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ValueError, match=r"x\.tar cannot be read as a \.tar: .*; fetch it again"):
        open_source(f"hub:{tmp_path / 'one'}")
    (tmp_path / "one" / "x.tar").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.tar cannot be read as a \.tar"):
        open_source(f"hub:{tmp_path / 'one'}")
    shard(tmp_path / "two" / "x.tar", [*numbered(range(12)), ("b.png", image(1)[:30]), ("b.cls", b"1")])
    with pytest.warns(UserWarning, match=r"1 of 13 images .*x\.tar/b cannot be read as an image"):
        pack(open_source(f"hub:{tmp_path / 'two'}"), tmp_path / "packed", size=6)
