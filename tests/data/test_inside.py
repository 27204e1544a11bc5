from pathlib import Path

import pytest

from bequest.data.inside import check_inside, check_present, inside, shortened


@pytest.mark.parametrize("entry", ["a.png", "a/b c/d.png", "./a.png", "..a/b..png", "a//b.png"])
def test_entries_below_the_folder(tmp_path: Path, entry: str) -> None:
    assert inside(tmp_path, entry, "list:1") == tmp_path / entry


@pytest.mark.parametrize("entry", ["", "..", "../a", "a/../../b", "a/..", "/a", "\\a", "a\\..\\b", "a\0b"])
def test_entries_that_leave_it(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ValueError, match=r"list:1: .* is no path inside of"):
        inside(tmp_path, entry, "list:1")


def test_links_are_followed_as_far_as_the_bound(tmp_path: Path) -> None:
    for name in ("data", "database"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("x")
    root = tmp_path / "data"
    (root / "in").symlink_to(root / "x")
    (root / "out").symlink_to(tmp_path / "database" / "x")  # a name that begins the same is not inside
    (root / "gone").symlink_to(tmp_path / "nowhere")
    assert inside(root, "in", "l") == root / "in"
    for entry in ("out", "gone"):
        with pytest.raises(ValueError, match=f"l: .*{entry} is a link to .*, outside of"):
            inside(root, entry, "l")
    assert inside(root, "out", "l", bound=tmp_path) == root / "out"


def test_a_folder_that_is_itself_a_link_is_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    check_inside(tmp_path / "link", tmp_path / "link" / "x", "l")


def test_what_is_missing_is_told_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}" for index in range(14)]
    paths[0].write_text("x")
    with pytest.raises(FileNotFoundError, match=r"13 of 14 files that l names are missing: .*/1, .*/10 and 3 more; is"):
        check_present(paths, "l")
    check_present(paths[:1], "l")
    assert shortened("abc") == "a, b, c"
