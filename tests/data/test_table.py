from pathlib import Path

import pytest

from bequest.data.table import in_order, joined_labels, label_columns, read_table, sides, single_labels


def table(folder: Path, text: str, name: str = "t.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_csv_tsv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    csv = read_table(table(tmp_path, 'a,b\n"x, y",1\n\nz,\n'))
    tsv = read_table(table(tmp_path, "a\tb\nx, y\t1\n\nz\t\n", "t.tsv"))
    jsonl = read_table(table(tmp_path, '{"a": "x, y", "b": 1}\n\n{"a": "z", "b": null}\n', "t.jsonl"))
    assert csv.rows == tsv.rows == jsonl.rows == ({"a": "x, y", "b": "1"}, {"a": "z", "b": ""})
    assert csv.columns == tsv.columns == jsonl.columns == ("a", "b")
    assert csv.lines == tsv.lines == (2, 4) and jsonl.lines == (1, 3)


def test_the_mark_of_a_spreadsheet_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfpath,label\r\nx,1\r\n")
    assert read_table(tmp_path / "t.csv").columns == ("path", "label")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "has no rows"),
        ("t.csv", b"a,b\n", "has no rows"),
        ("t.csv", b"a,b\n1,2\n1\n", r"t\.csv:3: 1 fields, but 2 columns"),
        ("t.csv", b"a,a\n1,2\n", "two columns of the same name"),
        ("t.csv", b"a,b\n\xff,1\n", r"not text in UTF-8 \(byte 4\)"),
        ("t.csv", b'a,b\n"x" y,1\n', r"t\.csv:2: .*expected after"),
        ("t.csv", b'a,b\n"x,1\n', r"t\.csv:2: unexpected end of data"),
        ("t.csv", b"a,b\n" + b"x" * 140_000 + b",1\n", r"t\.csv:2: field larger than field limit"),
        ("t.jsonl", b'{"a": 1}\n{"a"\n', r"t\.jsonl:2: "),
        ("t.jsonl", b"[1]\n", r"t\.jsonl:1: not an object in braces"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / name)


def test_missing_tables(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_table(tmp_path)


def test_columns_are_found_by_name_and_missed_by_nearest(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "Image,Finding,Label\nx,1,2\n"))
    assert found.column(None, ("path", "image"), "path") == "Image"
    assert found.column("Finding", ("label",), "label") == "Finding"
    assert found.optional_column(None, ("split",)) is None
    with pytest.raises(ValueError, match="no column 'Findings'; did you mean 'Finding'"):
        found.optional_column("Findings", ())
    with pytest.raises(
        ValueError, match="no column text or review; say text=COLUMN with one of: Image, Finding, Label"
    ):
        found.column(None, ("text", "review"), "text")


def test_three_ways_to_write_labels(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "one,many,a,b\ncat,red|blue,1,\ndog,,0.0,true\ncat, blue ,,0\n"))
    assert single_labels(found, "one") == (("cat", "dog"), [0, 1, 0])
    assert joined_labels(found, "many", "|") == (("blue", "red"), [(1, 1), (0, 0), (1, 0)])
    assert label_columns(found, ("b", "a")) == (("b", "a"), [(None, 1), (1, 0), (0, None)])
    with pytest.raises(ValueError, match=r"t\.csv:3: many is blank"):
        single_labels(found, "many")
    with pytest.raises(ValueError, match=r"t\.csv:2: one is 'cat', not 0, 1 or blank"):
        label_columns(found, ("one",))


def test_numbers_are_ordered_as_numbers() -> None:
    assert in_order({"10", "9", "1"}) == ("1", "9", "10") and in_order({"10", "9", "a"}) == ("10", "9", "a")


def test_sides(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "s,t\ntrain,test\nVal,test\ndev,x\nTEST,test\n"))
    assert sides(found, "s") == ["train", "validation", "validation", "test"] and sides(found, None) == [None] * 4
    with pytest.raises(ValueError, match=r"t\.csv:4: t is 'x', not train, validation or test"):
        sides(found, "t")
