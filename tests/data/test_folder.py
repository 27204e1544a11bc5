from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bequest.data import decode as room
from bequest.data.decode import draw_file
from bequest.data.doors import open_source
from bequest.data.folder import open_folder
from bequest.data.pack import pack
from bequest.data.source import content


def save(path: Path, shade: int, *, size: tuple[int, int] = (12, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade % 256, shade // 256, 7)).save(path)
    return path


def birds(root: Path, *, images: int = 6) -> Path:
    for label, offset in (("owl", 0), ("duck", 1000)):
        for index in range(images):
            save(root / label / f"{index}.png", offset + index)
    return root


def test_class_folders(tmp_path: Path) -> None:
    source = open_source(f"folder:{birds(tmp_path)}")
    assert source.classes == ("duck", "owl")
    assert source.records[0].name == "duck/0.png" and source.records[-1].name == "owl/5.png"
    counts = Counter((record.target, record.split) for record in source.records)
    assert counts == {(t, s): n for t in (0, 1) for s, n in (("train", 3), ("validation", 1), ("test", 2))}
    assert content(source) == content(open_folder(tmp_path))


def test_splits_and_content_follow_bytes_not_the_place(tmp_path: Path) -> None:
    one, two = open_folder(birds(tmp_path / "one")), open_folder(birds(tmp_path / "deep" / "two"))
    assert [record.split for record in one.records] == [record.split for record in two.records]
    assert content(one) == content(two)


def test_copies_of_a_file_are_on_one_side(tmp_path: Path) -> None:
    birds(tmp_path, images=9)
    for index in range(5):
        save(tmp_path / "owl" / "nested" / f"copy-{index}.png", 4)
    source = open_folder(tmp_path)
    copies = [record for record in source.records if record.name == "owl/4.png" or "copy" in record.name]
    assert len(copies) == 6 and len({record.split for record in copies}) == 1


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_split_folders_are_taken_as_given(tmp_path: Path, validation: str) -> None:
    for shift, part in enumerate(("train", validation, "test")):
        for label in ("a", "b"):
            for index in range(2):
                save(tmp_path / part / label / f"{index}.png", 10 * shift + index + 100 * (label == "b"))
    source = open_folder(tmp_path)
    assert source.classes == ("a", "b")
    named = {record.name.split("/")[0]: record.split for record in source.records}
    assert named == {"train": "train", validation: "validation", "test": "test"}


@pytest.mark.parametrize(("given", "cut"), [("test", "validation"), ("val", "test")])
def test_a_missing_part_is_cut_from_train(tmp_path: Path, given: str, cut: str) -> None:
    birds(tmp_path / "train")
    for label in ("owl", "duck"):
        save(tmp_path / given / label / "x.png", 5000 + len(label))
    source = open_folder(tmp_path)
    sides = {record.split for record in source.records if record.name.startswith("train/")}
    assert sides == {"train", cut}


def test_copies_of_held_out_files_are_left_out_of_train(tmp_path: Path) -> None:
    birds(tmp_path / "train")
    for part, label, shade in [("test", "owl", 2), ("test", "duck", 9000), ("val", "owl", 9001), ("val", "duck", 9002)]:
        save(tmp_path / part / label / "x.png", shade)
    with pytest.warns(UserWarning, match="1 train images of .* are left out: the same files are in validation or test"):
        source = open_folder(tmp_path)
    assert "train/owl/2.png" not in {record.name for record in source.records}
    assert len(source.records) == 11 + 4


def test_a_file_in_validation_and_test_stays_in_test_alone(tmp_path: Path) -> None:
    birds(tmp_path / "train")
    for part, extra in (("validation", 9000), ("test", 9100)):
        for number, label in enumerate(("owl", "duck")):
            save(tmp_path / part / label / "own.png", extra + number)
        save(tmp_path / part / "owl" / "both.png", 2)  # and in train, as owl/2.png
    with pytest.warns(UserWarning) as caught:
        source = open_folder(tmp_path)
    assert sorted(str(warning.message).replace(str(tmp_path), "DIR") for warning in caught) == [
        "1 train images of DIR are left out: the same files are in validation or test",
        "1 validation images of DIR are left out: the same files are in test",
    ]
    groups = {split: {r.group for r in source.records if r.split == split} for split in ("train", "validation", "test")}
    assert sum(len(group) for group in groups.values()) == len(set.union(*groups.values())) == len(source.records)
    assert "test/owl/both.png" in {record.name for record in source.records}
    assert len(source.records) == 11 + 2 + 3


def test_missing_empty_and_imageless_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"):
        open_folder(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"is a file, not a folder"):
        open_folder(tmp_path / "file")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"empty holds no images; expected .*empty/CLASS/IMAGE"):
        open_folder(empty)
    (empty / "owl").mkdir()
    (empty / "owl" / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"holds no images"):
        open_folder(empty)


def test_a_class_with_few_images_is_named(tmp_path: Path) -> None:
    birds(tmp_path)
    save(tmp_path / "swan" / "only.png", 77)
    with pytest.raises(ValueError, match=r"at least two images to train on: swan has 1; add images or remove"):
        open_folder(tmp_path)


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    birds(tmp_path / "x")
    with pytest.raises(ValueError, match=r"single class, x"):
        open_folder(tmp_path)


def test_links_out_of_the_folder_are_refused_and_links_inside_are_not(tmp_path: Path) -> None:
    secret = save(tmp_path / "secret.png", 3)
    root = birds(tmp_path / "data")
    (root / "owl" / "inside.png").symlink_to(root / "owl" / "0.png")
    assert "owl/inside.png" in {record.name for record in open_folder(root).records}
    (root / "owl" / "link.png").symlink_to(secret)
    with pytest.raises(ValueError, match=r"link\.png is a link to .*secret\.png, outside of"):
        open_folder(root)


def test_hidden_files_and_other_endings_are_passed_over(tmp_path: Path) -> None:
    birds(tmp_path)
    (tmp_path / "owl" / ".hidden.png").write_text("x")
    (tmp_path / "owl" / "notes.txt").write_text("x")
    (tmp_path / "readme.png").write_text("x")
    assert len(open_folder(tmp_path).records) == 12


@pytest.mark.parametrize("damage", ["text", "empty", "cut"])
def test_a_broken_image_is_named_by_pack(tmp_path: Path, damage: str) -> None:
    root = birds(tmp_path / "data")
    bad = root / "owl" / "3.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(bad)
    bad.write_bytes({"text": b"not an image", "empty": b"", "cut": bad.read_bytes()[:3000]}[damage])
    said = r"owl/3\.png cannot be read as an image: .*; replace or remove it"
    with pytest.warns(UserWarning, match=said):
        assert len(pack(open_folder(root), tmp_path / "packed", size=8, workers=2).names) == 11
    (root / "owl" / "4.png").write_bytes(b"another")  # of so few, two are too many
    with pytest.raises(ValueError, match=said):
        pack(open_folder(root), tmp_path / "packed", size=8, workers=2)
    assert not (tmp_path / "packed" / "index.json").exists()


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "large.png", 1, size=(50, 41))
    monkeypatch.setattr(room, "MOST_PIXELS", 2049)
    with pytest.raises(ValueError, match=r"large\.png has 2,050 pixels, more than 2,049; reduce it first"):
        draw_file(path, 8)


def test_only_the_named_formats_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "program.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    with pytest.raises(ValueError, match=r"program\.png cannot be read"):
        draw_file(path, 8)


def test_drawing_cuts_the_middle_and_puts_transparency_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = (200, 100, 50)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert np.array_equal(draw_file(tmp_path / "wide.png", 10), pixels[:, 10:20])
    Image.new("RGBA", (6, 6), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (draw_file(tmp_path / "clear.png", 4) == 255).all()
    Image.new("RGBA", (6, 6), (0, 0, 0, 128)).save(tmp_path / "half.png")
    assert np.abs(draw_file(tmp_path / "half.png", 4).astype(int) - 127).max() <= 1


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "CMYK", "I;16", "RGBA"])
def test_modes_and_formats(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    if mode == "I;16":
        Image.fromarray(np.full((5, 5), 128 * 257, np.uint16)).save(path)
    else:
        Image.new("L", (5, 5), 128).convert(mode).save(path)
    image = draw_file(path, 5)
    assert image.shape == (5, 5, 3) and image.dtype == np.uint8
    if mode != "1":
        assert np.abs(image.astype(int) - 128).max() <= 6
    elif mode == "1":
        assert set(np.unique(image)) <= {0, 255}


def test_reducing_averages_instead_of_picking(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    assert np.abs(draw_file(tmp_path / "board.png", 8).astype(int) - 127).max() <= 3


def test_the_camera_orientation_is_followed(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 8, 1).repeat(4, 0))
    exif = image.getexif()
    exif[274] = 3  # upside down
    image.save(tmp_path / "turned.png", exif=exif)
    drawn = draw_file(tmp_path / "turned.png", 8)
    assert drawn[0].mean() > 200 and drawn[-1].mean() < 50
