from dataclasses import replace
from pathlib import Path

import numpy as np

from bequest.data.source import Record, Source, content, file_digest


def white(size: int) -> np.ndarray:
    return np.full((size, size, 3), 255, np.uint8)


def small(path: Path) -> Source:
    return Source(
        "door", ("a", "b"), (Record("x", "g", 0, white, "train"), Record("y", "h", 1, white, "test")), "me", (path,)
    )


def test_content_follows_bytes_names_groups_targets_and_splits_but_not_places(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "one", tmp_path / "two"
    path.write_bytes(b"pixels")
    elsewhere.write_bytes(b"pixels")
    source = small(path)
    first = content(source)
    assert len(first) == 64
    assert content(replace(source, files=(elsewhere,), name="another", attribution="you")) == first
    record = source.records[0]
    others = [
        replace(source, recipe="line"),
        replace(source, classes=("a", "c")),
        replace(source, records=source.records[::-1]),
        *(
            replace(source, records=(replace(record, **change), source.records[1]))
            for change in ({"name": "z"}, {"group": "z"}, {"target": 1}, {"split": "validation"})
        ),
    ]
    assert len({first, *map(content, others)}) == 8
    path.write_bytes(b"other pixels")
    assert content(source) != first


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
