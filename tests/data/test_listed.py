from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from bequest.data.doors import open_source, with_absolute_place
from bequest.data.pack import pack
from bequest.data.source import content


def write(folder: Path, header: str, rows: list[str], *, images: int = 24) -> Path:
    for index in range(images):
        path = folder / "images" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6), (index, 3, 5)).save(path)
    (folder / "list.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "list.csv"


def plain(folder: Path) -> Path:
    return write(folder, "path,label", [f"images/{i}.png,{'cat' if i % 2 else 'dog'}" for i in range(24)])


def test_one_class_a_row(tmp_path: Path) -> None:
    source = open_source(f"csv:{plain(tmp_path)}")
    assert source.name == "csv:list.csv" and source.classes == ("cat", "dog") and not source.multilabel
    counts = Counter((record.target, record.split) for record in source.records)
    assert counts == {(t, s): n for t in (0, 1) for s, n in (("train", 6), ("validation", 2), ("test", 4))}
    packed = pack(source, tmp_path / "packed", size=6)
    assert packed.pixels[:, 0, 0, 0].tolist() == list(range(24)) and packed.names[3] == "images/3.png"


def test_the_content_does_not_depend_on_the_place(tmp_path: Path) -> None:
    one, two = (open_source(f"csv:{plain(tmp_path / name)}") for name in ("one", "deep/two"))
    assert content(one) == content(two)


def test_several_labels_in_columns_and_in_one_column(tmp_path: Path) -> None:
    columns = write(
        tmp_path / "a", "path,cat,dog", [f"images/{i}.png,{i % 2},{'' if i == 3 else 1}" for i in range(24)]
    )
    source = open_source(f"csv:{columns}?labels=cat,dog")
    assert source.multilabel and source.classes == ("cat", "dog")
    assert [record.target for record in source.records[2:5]] == [(0, 1), (1, None), (0, 1)]
    packed = pack(source, tmp_path / "packed", size=6)
    assert packed.targets[3, 1].isnan() and int(packed.targets.isnan().sum()) == 1
    joined = write(tmp_path / "b", "path,tags", [f"images/{i}.png,{'a;b' if i % 2 else ''}" for i in range(24)])
    found = open_source(f"csv:{joined}?label=tags&between=;")
    assert [record.target for record in found.records[:2]] == [(0, 0), (1, 1)]
    with pytest.raises(ValueError, match="excludes label and between"):
        open_source(f"csv:{columns}?labels=cat,dog&label=cat")


def test_columns_for_split_and_group(tmp_path: Path) -> None:
    rows = [f"images/{i}.png,{'cat' if i % 2 else 'dog'},p{i // 4},{'test' if i < 8 else 'train'}" for i in range(24)]
    source = open_source(f"csv:{write(tmp_path, 'path,label,patient,split', rows)}?group=patient")
    sides: dict[str, set[str]] = {}
    for record in source.records:
        sides.setdefault(record.group, set()).add(record.split)
    assert set(sides) == {f"p{i}" for i in range(6)} and all(len(found) == 1 for found in sides.values())
    assert sides["p0"] == sides["p1"] == {"test"} and set.union(*sides.values()) == {"train", "validation", "test"}
    torn = [row.replace("train", "test") if row.startswith("images/9.") else row for row in rows]
    with pytest.raises(ValueError, match="1 groups on two sides of the split: p2; mend the split"):
        open_source(f"csv:{write(tmp_path, 'path,label,patient,split', torn)}?group=patient")


def test_copies_under_two_groups_are_left_out(tmp_path: Path) -> None:
    file = write(tmp_path, "path,label,group", [f"images/{i}.png,{i % 2},g{i}" for i in range(24)])
    before = open_source(f"csv:{file}")
    test, train = (next(r.name for r in before.records if r.split == side) for side in ("test", "train"))
    (tmp_path / train).write_bytes((tmp_path / test).read_bytes())
    with pytest.warns(UserWarning, match="1 train images of .* are left out"):
        after = open_source(f"csv:{file}")
    assert {r.name for r in before.records} - {r.name for r in after.records} == {train}


@pytest.mark.parametrize("entry", ["../secret.png", "/etc/passwd", "", "images/../../secret.png"])
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, entry: str) -> None:
    file = plain(tmp_path / "data")
    Image.new("L", (4, 4)).save(tmp_path / "secret.png")
    file.write_text(file.read_text() + f"{entry},cat\n")
    with pytest.raises(ValueError, match=r"list\.csv:26: '.*' is no path inside of"):
        open_source(f"csv:{file}")


def test_links_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    file = plain(tmp_path / "data")
    Image.new("L", (4, 4)).save(tmp_path / "secret.png")
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "outside").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "outside" / "x.png")
    (tmp_path / "data" / "folder").symlink_to(tmp_path / "outside")
    before = file.read_text()
    for entry in ("link.png", "folder/x.png"):
        file.write_text(before + f"{entry},cat\n")
        with pytest.raises(ValueError, match=r"list\.csv:26: .* is a link to .*, outside of"):
            open_source(f"csv:{file}")


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    file = plain(tmp_path)
    before = file.read_text()
    for row, error, message in [
        ("images/3.png,dog", ValueError, r"names images/3\.png twice"),
        ("images/99.png,dog", FileNotFoundError, r"1 of 25 files .*99\.png; is the download complete"),
        ("images/3.png,", ValueError, r"list\.csv:26: label is blank"),
        ("images/3.png,swan", ValueError, r"swan|twice"),
    ]:
        file.write_text(before + row + "\n")
        with pytest.raises(error, match=message):
            open_source(f"csv:{file}")
    with pytest.raises(ValueError, match="no option 'lable'; did you mean 'label'"):
        open_source(f"csv:{file}?lable=x")
    with pytest.raises(ValueError, match="names no file; write csv:FILE"):
        open_source("csv:")


def test_places_are_made_absolute_with_their_options(tmp_path: Path) -> None:
    assert with_absolute_place("csv:a/b.csv?label=x", tmp_path) == f"csv:{tmp_path}/a/b.csv?label=x"
    assert with_absolute_place("folder:../x", tmp_path) == f"folder:{tmp_path.parent}/x"
    assert with_absolute_place("hub:org/name", tmp_path) == "hub:org/name"
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert with_absolute_place("hub:org/name", tmp_path) == f"hub:{tmp_path}/org/name"
    assert [with_absolute_place(door, tmp_path) for door in ("digits", "folder:", "x:y")] == [
        "digits",
        "folder:",
        "x:y",
    ]
