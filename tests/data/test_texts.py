from collections import Counter
from pathlib import Path

import pytest

from bequest.data.doors import open_source
from bequest.data.pack import pack
from bequest.data.source import content


def write(path: Path, rows: list[tuple[str, ...]], header: str = "text,label") -> Path:
    path.write_text("\n".join([header, *(",".join(f'"{field}"' for field in row) for row in rows)]) + "\n")
    return path


def reviews(path: Path, count: int = 24) -> Path:
    return write(path, [(f"It is number {i}, as told", "good" if i % 2 else "bad") for i in range(count)])


def test_texts_come_as_they_stand(tmp_path: Path) -> None:
    source = open_source(f"text:{reviews(tmp_path / 'r.csv')}")
    assert source.texts and not source.multilabel and source.classes == ("bad", "good") and source.name == "text:r.csv"
    first = source.records[0]
    assert (first.text, first.target, first.name, first.draw) == ("It is number 0, as told", 0, "line 2", None)
    counts = Counter((record.target, record.split) for record in source.records)
    assert counts == {(t, s): n for t in (0, 1) for s, n in (("train", 6), ("validation", 2), ("test", 4))}


def test_texts_that_differ_in_spaces_and_capitals_are_one_group(tmp_path: Path) -> None:
    file = reviews(tmp_path / "r.csv")
    file.write_text(file.read_text() + '"IT  is number 3,\nas told ",good\n')
    records = open_source(f"text:{file}").records
    assert records[3].group == records[-1].group and records[3].split == records[-1].split
    assert records[-1].text == "IT  is number 3,\nas told " and len({record.group for record in records}) == 24


def test_copies_of_test_are_left_out_of_train(tmp_path: Path) -> None:
    rows = [(f"t{i}", str(i % 2), "train") for i in range(12)] + [("T0", "0", "test"), ("t99", "1", "test")]
    with pytest.warns(UserWarning, match="1 train texts of .* are left out: the same texts are in"):
        source = open_source(f"text:{write(tmp_path / 'r.csv', rows, 'text,label,split')}")
    assert "line 2" not in {record.name for record in source.records} and len(source.records) == 13


def test_other_columns_by_option(tmp_path: Path) -> None:
    file = write(tmp_path / "r.csv", [(f"t{i}", f"{i % 2}", "1") for i in range(12)], "words,a,b")
    source = open_source(f"text:{file}?text=words&labels=a,b")
    assert source.multilabel and source.records[1].target == (1, 1)
    with pytest.raises(ValueError, match=r"no column text or sentence or .*; say text=COLUMN with one of: words, a, b"):
        open_source(f"text:{file}?labels=a,b")


def test_content_follows_the_text(tmp_path: Path) -> None:
    file = reviews(tmp_path / "r.csv")
    before = content(open_source(f"text:{file}"))
    file.write_text(file.read_text().replace("number 5", "number five"))
    assert content(open_source(f"text:{file}")) != before


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "r.csv", [("a", "x"), ("  ", "y")])
    with pytest.raises(ValueError, match=r"r\.csv:3: text is blank"):
        open_source(f"text:{file}")
    few = write(tmp_path / "few.csv", [("a", "x"), ("b", "x"), ("c", "y")])
    with pytest.raises(ValueError, match="needs at least two texts to train on: y has 1; add texts or leave the class"):
        open_source(f"text:{few}")
    source = open_source(f"text:{reviews(tmp_path / 'r.csv')}")
    with pytest.raises(ValueError, match=r"text:r\.csv holds texts; they have no pixels"):
        pack(source, tmp_path / "packed", size=8)


def test_texts_without_a_column_of_classes_have_none(tmp_path: Path) -> None:
    file = write(tmp_path / "r.csv", [(f"It is number {i}",) for i in range(24)], "text")
    source = open_source(f"text:{file}")
    assert source.classes == () and not source.multilabel
    assert Counter(record.split for record in source.records) == {"train": 12, "validation": 4, "test": 8}
    named = open_source(f"text:{reviews(tmp_path / 'named.csv')}?label=none")
    assert named.classes == () and len(named.records) == 24
    own = write(tmp_path / "own.csv", [(f"t{i}", str(i % 2)) for i in range(12)], "text,none")
    assert open_source(f"text:{own}?label=none").classes == ("0", "1")  # a column of that name is one
