import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bequest.data import chexpert as room
from bequest.data.batches import batches, take_shots
from bequest.data.chexpert import TASKS, label
from bequest.data.doors import open_source
from bequest.data.pack import open_packed, pack
from bequest.data.source import content

HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
).split(",")
POLICIES = ("paper", "u-ones", "u-zeros", "u-ignore")


def write(root: Path, *, patients: int = 30, official: int = 4) -> Path:
    stream = np.random.default_rng(5)
    for part, numbers in (("train", range(1, patients + 1)), ("valid", range(64541, 64541 + official))):
        rows = []
        for number in numbers:
            for view in ("view1_frontal", "view2_lateral", "view3_frontal")[: 1 + number % 3]:
                inner = f"{part}/patient{number:05}/study1/{view}.jpg"
                path = root / inner
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (10, 8), number % 256).save(path)
                drawn = stream.choice(["", "0.0", "1.0", "-1.0"] if part == "train" else ["0.0", "1.0"], 14)
                side = "Frontal" if "frontal" in view else "Lateral"
                rows.append([f"CheXpert-v1.0-small/{inner}", "Male", "70", side, "AP", *drawn])
        with (root / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([HEADER, *rows])
    return root


def rows_of(root: Path, part: str) -> list[list[str]]:
    with (root / f"{part}.csv").open() as file:
        return [line.strip("\n").split(",") for line in file.readlines()[1:]]


def twin(policy: str, task: str, text: str) -> float | None:
    """The labels as a table, by hand."""
    ones = {"paper": ("Edema", "Atelectasis"), "u-ones": TASKS, "u-zeros": (), "u-ignore": ()}[policy]
    uncertain = None if policy == "u-ignore" else 1.0 if task in ones else 0.0
    return {"1.0": 1.0, "0.0": 0.0, "": 0.0, "-1.0": uncertain}[text]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("views", ["all", "frontal"])
def test_counts_per_task_agree_with_a_plain_twin(tmp_path: Path, policy: str, views: str) -> None:
    root = write(tmp_path)
    source = open_source(f"chexpert:{root}?uncertain={policy}&views={views}")
    assert source.classes == TASKS and source.multilabel
    rows = [row for part in ("train", "valid") for row in rows_of(root, part) if views == "all" or row[3] == "Frontal"]
    assert len(source.records) == len(rows) > 30
    for place, (column, task) in enumerate(zip((7, 10, 11, 13, 15), TASKS, strict=True)):  # the paper's columns
        expected = Counter(twin(policy, task, row[column]) for row in rows)
        assert Counter(record.target[place] for record in source.records) == expected
        assert (None in expected) == (policy == "u-ignore")


def test_no_patient_is_on_two_sides(tmp_path: Path) -> None:
    source = open_source(f"chexpert:{write(tmp_path)}")
    sides: dict[str, set[str]] = {}
    for record in source.records:
        assert f"/{record.group}/" in record.name
        sides.setdefault(record.group, set()).add(record.split)
    assert len(sides) == 34 and all(len(found) == 1 for found in sides.values())
    counts = Counter(split for (split,) in sides.values())
    assert counts == {"train": 15, "validation": 5 + 4, "test": 10}
    assert {record.split for record in source.records if record.name.startswith("valid/")} == {"validation"}


def test_patients_of_both_lists_are_left_out_of_train(tmp_path: Path) -> None:
    root = write(tmp_path)
    text = (root / "train.csv").read_text()
    row = rows_of(root, "valid")[0]
    (root / "train.csv").write_text(text + ",".join([row[0], *row[1:]]) + "\n")
    with pytest.warns(UserWarning, match=r"1 rows of train\.csv are left out: their patients are in valid\.csv"):
        source = open_source(f"chexpert:{root}")
    assert len({record.name for record in source.records}) == len(source.records)


@pytest.mark.parametrize(("valid", "sides"), [("test", {"train", "validation", "test"}), ("leave-out", None)])
def test_the_official_list_as_test_or_not_at_all(tmp_path: Path, valid: str, sides: set[str] | None) -> None:
    source = open_source(f"chexpert:{write(tmp_path)}?valid={valid}")
    official = {record.split for record in source.records if record.name.startswith("valid/")}
    others = {record.split for record in source.records if record.name.startswith("train/")}
    assert official == ({"test"} if valid == "test" else set())
    assert others == ({"train", "validation"} if valid == "test" else {"train", "validation", "test"})


def test_rows_are_split_as_in_the_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, patients=40)
    monkeypatch.setattr(room, "PAPER_ROWS", 25)
    with pytest.warns(UserWarning, match=r"split=row as in the paper: \d+ of \d+ patients of test are in train too"):
        source = open_source(f"chexpert:{root}?split=row")
    lines = [row[0].split("/", 1)[1] for row in rows_of(root, "train")]
    shuffled = list(np.random.RandomState(1234).permutation(lines))  # as the paper's script permutes its lines
    names = {split: [r.name for r in source.records if r.split == split] for split in ("train", "validation", "test")}
    assert names["train"] == shuffled[:25] and names["test"] == shuffled[25:50]
    assert names["validation"] == [row[0].split("/", 1)[1] for row in rows_of(root, "valid")]
    with pytest.warns(UserWarning, match="split=row"):
        again = open_source(f"chexpert:{root}?split=row&repeat=rare")
    positive = [r for r in source.records if r.split == "train" and (r.target[0] == 1 or r.target[2] == 1)]
    extra = again.records[len(source.records) :]
    assert [r.name for r in extra] == [f"{r.name} (again)" for r in positive] and len(positive) > 0
    with pytest.raises(ValueError, match="leave valid=test out"):
        open_source(f"chexpert:{root}?split=row&valid=test")


def test_a_short_list_is_halved(tmp_path: Path) -> None:
    root = write(tmp_path)
    with pytest.warns(UserWarning, match="split=row"):
        counts = Counter(record.split for record in open_source(f"chexpert:{root}?split=row").records)
    half = len(rows_of(root, "train")) // 2
    assert counts["train"] == counts["test"] == half


def test_packed_targets_are_numbers_with_nan_for_missing(tmp_path: Path) -> None:
    source = open_source(f"chexpert:{write(tmp_path / 'data')}?uncertain=u-ignore")
    pack(source, tmp_path / "packed", size=8)
    packed = open_packed(tmp_path / "packed")
    assert packed.multilabel and packed.targets.shape == (len(source.records), 5)
    rows = [[None if value != value else value for value in row] for row in packed.targets.tolist()]
    assert rows == [list(record.target) for record in source.records]
    assert any(None in row for row in rows)
    walked = [targets for _, targets in batches(packed, packed.indices("train"), batch_size=4, normalise=([0], [1]))]
    assert sum(len(part) for part in walked) == len(packed.indices("train")) and walked[0].shape == (4, 5)
    with pytest.raises(
        ValueError, match=r"shots are images of one class each; an image of chexpert\?.* leave shots out"
    ):
        take_shots(packed, 2, seed=0)


def test_content_follows_the_label_policy_and_the_fit(tmp_path: Path) -> None:
    root = write(tmp_path)
    doors = [f"chexpert:{root}?{option}" for option in ("uncertain=paper", "uncertain=u-ones", "fit=crop")]
    assert len({content(open_source(door)) for door in doors}) == 3
    assert content(open_source(f"chexpert:{root}")) == content(open_source(doors[0]))


def test_the_whole_image_is_kept_beside_grey(tmp_path: Path) -> None:
    source = open_source(f"chexpert:{write(tmp_path)}")
    image = next(record for record in source.records if "patient00003" in record.name).draw(10)
    assert np.abs(image[:8].astype(int) - 3).max() <= 2 and (image[8:] == 128).all()


def test_bad_lists(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train\.csv is missing; write chexpert:DIR"):
        open_source(f"chexpert:{tmp_path}")
    root = write(tmp_path)
    text = (root / "train.csv").read_text()
    for changed, message in [
        (text.replace("Edema", "Oedema"), r"train\.csv has no column Edema"),
        (text.replace("patient00001", "person1"), r"train\.csv:2: .* is not \.\.\./train/patientNUMBER"),
        (text.replace("patient00001/study1/", "patient00001/../../../"), r"train\.csv:2: .* is no path inside of"),
        (text.splitlines()[0] + "\n", r"train\.csv has no rows"),
    ]:
        (root / "train.csv").write_text(changed)
        with pytest.raises(ValueError, match=message):
            open_source(f"chexpert:{root}")
    lines = text.splitlines()
    fields = lines[2].split(",")
    fields[10] = "2.0"
    (root / "train.csv").write_text("\n".join([*lines[:2], ",".join(fields), *lines[3:]]) + "\n")
    with pytest.raises(ValueError, match=r"train\.csv:3: Edema is '2\.0', not 1\.0, 0\.0, -1\.0 or blank"):
        open_source(f"chexpert:{root}")
    for cut in (text[:-30], text + "x,y\n", text[:-1] + ",more\n"):
        (root / "train.csv").write_text(cut)
        with pytest.raises(ValueError, match=r"train\.csv:\d+: the line has not 19 fields"):
            open_source(f"chexpert:{root}")
    (root / "train.csv").write_text(text)
    (root / "train" / "patient00001" / "study1" / "view1_frontal.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of \d+ files .*view1_frontal\.jpg; is the download complete"):
        open_source(f"chexpert:{root}")


def test_an_option_that_does_not_fit_names_the_nearest(tmp_path: Path) -> None:
    root = write(tmp_path, patients=3)
    with pytest.raises(ValueError, match="no option 'view'; did you mean 'views'"):
        open_source(f"chexpert:{root}?view=frontal")
    with pytest.raises(ValueError, match="uncertain is 'u-one'; did you mean 'u-ones'"):
        open_source(f"chexpert:{root}?uncertain=u-one")


def test_labels_one_by_one() -> None:
    assert [label("-1.0", task, "paper") for task in TASKS] == [0, 1, 0, 1, 0]
    assert label("", "Edema", "u-ignore") == 0 and label("1", "Edema", "u-zeros") == 1
    with pytest.raises(ValueError, match=r"0\.5"):
        label("0.5", "Edema", "paper")
