from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bequest.data.domainnet import open_domainnet, paper_subsample
from bequest.data.doors import open_source
from bequest.data.pack import pack
from bequest.data.source import content

CLASSES = ("aircraft_carrier", "alarm_clock", "ant")


def domain(root: Path, *, train: int = 20, test: int = 6, name: str = "clipart") -> Path:
    number = 0
    for part, count in (("train", train), ("test", test)):
        lines = []
        for target, label in enumerate(CLASSES):
            for _ in range(count):
                number += 1
                entry = f"{name}/{label}/{name}_{target + 1:03}_{number:06}.jpg"
                path = root / entry
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (12, 9), (2 * number, 40 * target, 200)).save(path)
                lines.append(f"{entry} {target}")
        (root / f"{name}_{part}.txt").write_text("\n".join(lines) + "\n")
    return root / name


def test_the_official_lists_are_read(tmp_path: Path) -> None:
    source = open_source(f"domainnet:{domain(tmp_path)}")
    assert source.name == "domainnet:clipart" and source.classes == CLASSES and not source.multilabel
    counts = Counter((record.target, record.split) for record in source.records)
    assert counts == {(t, s): n for t in range(3) for s, n in (("train", 18), ("validation", 2), ("test", 6))}
    listed = (tmp_path / "clipart_train.txt").read_text().splitlines()
    assert [f"{record.name} {record.target}" for record in source.records[:60]] == listed
    packed = pack(source, tmp_path / "packed", size=8)
    assert packed.pixels.shape == (78, 8, 8, 3) and packed.targets.bincount().tolist() == [26] * 3
    assert np.abs(packed.pixels[25, 4, 4].astype(int) - (52, 40, 200)).max() <= 4


def test_the_subsample_is_the_papers() -> None:
    assert paper_subsample(120906, 50000)[:5] == [31803, 23292, 29956, 73424, 28524]
    assert paper_subsample(120750, 50000)[:5] == [103085, 100466, 67761, 92044, 36795]
    drawn = paper_subsample(52041, 50000)
    assert len(set(drawn)) == 50000 and max(drawn) < 52041
    assert paper_subsample(33525, 50000) == list(range(33525))


def test_train_and_test_are_subsampled_alike(tmp_path: Path) -> None:
    place = domain(tmp_path, train=10, test=7)
    source = open_source(f"domainnet:{place}?subsample=20")
    assert source.name == "domainnet:clipart?subsample=20"
    lines = {part: (tmp_path / f"clipart_{part}.txt").read_text().splitlines() for part in ("train", "test")}
    twin = [lines[part][i] for part in lines for i in np.random.RandomState(2020).choice(len(lines[part]), 20, False)]
    assert [f"{record.name} {record.target}" for record in source.records] == twin
    assert content(source) != content(open_source(f"domainnet:{place}"))


def test_validation_keeps_equal_files_together_and_follows_its_seed(tmp_path: Path) -> None:
    place = domain(tmp_path)
    original = place / "ant" / "clipart_003_000041.jpg"
    for index in range(5):
        (place / "ant" / f"copy{index}.jpg").write_bytes(original.read_bytes())
    with (tmp_path / "clipart_train.txt").open("a") as file:
        file.writelines(f"clipart/ant/copy{index}.jpg 2\n" for index in range(5))
    chosen = {}
    for seed in (None, 0, 1):
        source = open_domainnet(place, seed=seed, validation=0.4)
        assert len({r.split for r in source.records if "copy" in r.name or r.name.endswith("000041.jpg")}) == 1
        chosen[seed] = {record.name for record in source.records if record.split == "validation"}
    assert len({frozenset(names) for names in chosen.values()}) == 3
    again = open_domainnet(place, seed=1, validation=0.4).records
    assert chosen[1] == {record.name for record in again if record.split == "validation"}
    assert {record.split for record in open_domainnet(place, validation=0).records} == {"train", "test"}


def test_copies_of_test_files_leave_train_unless_the_papers_set_is_asked_for(tmp_path: Path) -> None:
    place = domain(tmp_path, test=5)
    (place / "ant" / "clipart_003_000041.jpg").write_bytes((place / "ant" / "clipart_003_000071.jpg").read_bytes())
    with pytest.warns(UserWarning, match=r"1 train images of clipart in .* are left out: the same files are in"):
        assert len(open_domainnet(place).records) == 60 + 15 - 1
    assert len(open_domainnet(place, copies="keep").records) == 60 + 15


@pytest.mark.parametrize("entry", ["../secret/x/a.jpg", "/etc/x/a.jpg", "clipart/../../x/a.jpg"])
def test_entries_that_leave_the_folder_are_refused(tmp_path: Path, entry: str) -> None:
    domain(tmp_path / "data")
    with (tmp_path / "data" / "clipart_test.txt").open("a") as file:
        file.write(f"{entry} 0\n")
    with pytest.raises(ValueError, match=r"clipart_test\.txt:19: '.*' is no path inside of"):
        open_domainnet(tmp_path / "data" / "clipart")


def test_links_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    place = domain(tmp_path / "data")
    secret = tmp_path / "secret.jpg"
    Image.new("L", (4, 4)).save(secret)
    target = place / "ant" / "clipart_003_000041.jpg"
    target.unlink()
    target.symlink_to(secret)
    with pytest.raises(ValueError, match=r"clipart_train\.txt:41: .* is a link to .*secret\.jpg, outside of"):
        open_domainnet(place)


def test_lines_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    place = domain(tmp_path)
    path = tmp_path / "clipart_train.txt"
    good = path.read_text()
    for line, message in [
        ("clipart/ant/x.jpg two", r":61: .* is not DOMAIN/CLASS/FILE and a class number"),
        ("x.jpg 2", r":61: .* is not DOMAIN/CLASS/FILE"),
        ("clipart/zebra/x.jpg 2", r":61: class 2 is zebra here and ant before"),
    ]:
        path.write_text(good + line + "\n")
        with pytest.raises(ValueError, match=message):
            open_domainnet(place)
    path.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        open_domainnet(place)


def test_missing_images_are_named_in_one_message(tmp_path: Path) -> None:
    place = domain(tmp_path)
    for number in range(21, 33):
        (place / "alarm_clock" / f"clipart_002_{number:06}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"12 of 78 files .*000021\.jpg, .*000030\.jpg and 2 more; is the"):
        open_domainnet(place)


def test_missing_lists_name_the_nearest_domain(tmp_path: Path) -> None:
    domain(tmp_path, train=2, test=1)
    with pytest.raises(FileNotFoundError, match=r"clip_train\.txt is missing; did you mean 'clipart'\? There: clipart"):
        open_source(f"domainnet:{tmp_path / 'clip'}")
    with pytest.raises(FileNotFoundError, match="write domainnet:DIR/DOMAIN"):
        open_source(f"domainnet:{tmp_path}")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("subsample=0", "1 or more"),
        ("subsample=x", "subsample is 'x', not a whole number"),
        ("validation=1", "0 to below 1"),
        ("copies=kep", "did you mean 'keep'"),
        ("subsampel=1", "no option 'subsampel'; did you mean 'subsample'"),
        ("seed=1&seed=2", "write seed=VALUE, once"),
    ],
)
def test_options_are_checked(tmp_path: Path, option: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_source(f"domainnet:{domain(tmp_path, train=2, test=1)}?{option}")
