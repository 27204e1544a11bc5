"""How is CheXpert read, and what becomes of its uncertain labels and its patients?

DIR holds `train.csv`, `valid.csv` and the folders `train` and `valid` (Irvin et al. 2019). The five tasks are those of
the competition. A blank label counts as absent. An uncertain one (-1) is present by "u-ones", absent by "u-zeros",
missing by "u-ignore"; "paper" takes present for Edema and Atelectasis and absent for the others, as the poster's paper.

By "patient", the patients of train.csv are cut into train, validation and test by the hash of their number, and
valid.csv, which radiologists labelled, joins validation. By "row", as in the paper, rows are permuted with
`RandomState(1234)`, the first 50,000 are train, the next 50,000 test, and valid.csv is validation: most patients of
test are then in train as well, and a warning counts them.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from bequest.data.decode import Fit, draw_file
from bequest.data.inside import LONGEST_PATH, check_inside, check_present, inside
from bequest.data.source import Record, Source, Split
from bequest.data.splits import SHARES, split_groups

Uncertain = Literal["paper", "u-ones", "u-zeros", "u-ignore"]

TASKS = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
PAPER_ONES = frozenset({"Edema", "Atelectasis"})
REPEATED = frozenset({"Cardiomegaly", "Consolidation"})  # the paper shows these train rows twice
PATH = re.compile(r"(?:^|/)((?:train|valid)/(?:[^/]+/)*?(patient\d+)/.+)$")
PAPER_ROWS, PAPER_SEED = 50_000, 1234
ATTRIBUTION = "CheXpert by Irvin et al. (2019), Stanford University School of Medicine; see its research use agreement"


@dataclass(frozen=True)
class _Row:
    entry: str
    path: Path
    patient: str
    frontal: bool
    targets: tuple[float | None, ...]


def open_chexpert(
    folder: Path,
    *,
    uncertain: Uncertain = "paper",
    views: Literal["all", "frontal"] = "all",
    split: Literal["patient", "row"] = "patient",
    valid: Literal["validation", "test", "leave-out"] = "validation",
    repeat: Literal["none", "rare"] = "none",
    fit: Fit = "pad",
) -> Source:
    """Open CheXpert, or its small version.

    Args:
        folder: with `train.csv`, `valid.csv`, `train` and `valid`.
        uncertain: what a label of -1 becomes.
        views: whether lateral images are taken too.
        split: what is kept on one side, see above.
        valid: the side of valid.csv; as "test" no test is cut from train.csv. By "row" it is "validation".
        repeat: "rare" shows train rows with Cardiomegaly or Consolidation twice, as in the paper.
        fit: "pad" keeps the whole image with grey beside it, as in the paper; "crop" takes the middle square.

    Returns:
        The source; targets are tuples of 0, 1 and None (missing), one for each of the five tasks. A group is a patient.

    Raises:
        FileNotFoundError: if a CSV or an image is missing.
        ValueError: if a column is missing, a line cannot be read or leaves the folder, or options exclude each other.
    """
    if split == "row" and valid != "validation":
        raise ValueError(f"split=row takes valid.csv for validation, as in the paper; leave valid={valid} out")
    train = _read(folder, "train.csv", uncertain)
    official = [] if valid == "leave-out" else _read(folder, "valid.csv", uncertain)
    chosen = _by_row(train) if split == "row" else _by_patient(train, {row.patient for row in official}, valid)
    side: Split = "test" if valid == "test" else "validation"
    chosen += [(row, side) for row in official]
    if views == "frontal":
        chosen = [(row, to) for row, to in chosen if row.frontal]
    if not any(to == "train" for _, to in chosen):
        raise ValueError(f"{folder / 'train.csv'} leaves no image to train on with views={views}")
    check_present((row.path for row, _ in chosen), f"the lists of {folder}")
    if split == "row":
        _warn_of_patients(chosen)
    records = [
        Record(row.entry, row.patient, row.targets, partial(draw_file, row.path, fit=fit), to) for row, to in chosen
    ]
    if repeat == "rare":
        records += [
            Record(f"{one.name} (again)", one.group, one.target, one.draw, one.split)
            for one, (row, to) in zip(list(records), chosen, strict=True)
            if to == "train" and any(row.targets[TASKS.index(task)] == 1 for task in REPEATED)
        ]
    files = (folder / "train.csv", *([folder / "valid.csv"] if official else []), *(row.path for row, _ in chosen))
    return Source("chexpert", TASKS, tuple(records), ATTRIBUTION, files=files, recipe=fit)


def label(text: str, task: str, uncertain: Uncertain) -> float | None:
    """Read one label.

    Args:
        text: "1.0", "0.0", "-1.0" or nothing.
        task: name of the task.
        uncertain: what -1 becomes.

    Returns:
        1, 0, or None if the label is missing.

    Raises:
        ValueError: if the text is something else.
    """
    value = float(text) if text.strip() else 0.0
    if value in (0.0, 1.0):
        return value
    if value != -1.0:
        raise ValueError(text)
    if uncertain == "u-ignore":
        return None
    return float(uncertain == "u-ones" or (uncertain == "paper" and task in PAPER_ONES))


def _read(folder: Path, name: str, uncertain: Uncertain) -> list[_Row]:
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"the list {path} is missing; write chexpert:DIR, DIR holding train.csv and valid.csv")
    check_inside(folder, path, str(folder))
    rows = []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        try:
            header = reader.fieldnames or ()
            missing = [column for column in ("Path", "Frontal/Lateral", *TASKS) if column not in header]
            if missing:
                raise ValueError(f"{path} has no column {', '.join(missing)}; is it the CSV of CheXpert?")
            for fields in reader:
                where = f"{path}:{reader.line_num}"
                if None in fields or None in fields.values():  # a cut line would count as healthy
                    raise ValueError(f"{where}: the line has not {len(reader.fieldnames or ())} fields, as the header")
                rows.append(_row(folder, fields, where, uncertain))
        except csv.Error as error:
            raise ValueError(f"{path}:{reader.line_num}: {error}") from None
    if not rows:
        raise ValueError(f"{path} has no rows")
    return rows


def _row(folder: Path, fields: Mapping[str, str | None], where: str, uncertain: Uncertain) -> _Row:
    written = fields["Path"] or ""
    # The lists say CheXpert-v1.0-small/train/...; what the folder is called here does not matter.
    # Longer ones are no paths, and the search would take their square.
    found = re.search(PATH, written) if len(written) <= LONGEST_PATH else None
    if not found:
        raise ValueError(
            f"{where}: {written[:200]!r} is not .../train/patientNUMBER/... or .../valid/patientNUMBER/..."
        )
    targets = []
    for task in TASKS:
        try:
            targets.append(label(fields[task] or "", task, uncertain))
        except ValueError:
            raise ValueError(f"{where}: {task} is {fields[task]!r}, not 1.0, 0.0, -1.0 or blank") from None
    frontal = (fields["Frontal/Lateral"] or "").strip() == "Frontal"
    return _Row(found[1], inside(folder, found[1], where), found[2], frontal, tuple(targets))


def _by_patient(
    rows: list[_Row], elsewhere: set[str], valid: Literal["validation", "test", "leave-out"]
) -> list[tuple[_Row, Split]]:
    own = [row for row in rows if row.patient not in elsewhere]  # no patient is on two sides
    if len(own) < len(rows):
        warnings.warn(
            f"{len(rows) - len(own)} rows of train.csv are left out: their patients are in valid.csv", stacklevel=3
        )
    shares = (0.75, 0.25, 0.0) if valid == "test" else SHARES
    # No strata: a patient has several images, and an image several labels.
    sides = split_groups([row.patient for row in own], [0] * len(own), shares=shares)
    return list(zip(own, sides, strict=True))


def _by_row(rows: list[_Row]) -> list[tuple[_Row, Split]]:
    most = min(PAPER_ROWS, len(rows) // 2)  # a smaller list is halved
    order = np.random.RandomState(PAPER_SEED).permutation(len(rows)).tolist()
    train: list[tuple[_Row, Split]] = [(rows[index], "train") for index in order[:most]]
    return train + [(rows[index], "test") for index in order[most : 2 * most]]


def _warn_of_patients(chosen: list[tuple[_Row, Split]]) -> None:
    training = {row.patient for row, side in chosen if side == "train"}
    test = {row.patient for row, side in chosen if side == "test"}
    if test & training:
        warnings.warn(
            f"split=row as in the paper: {len(test & training):,} of {len(test):,} patients of test are in train too, "
            "which makes every error look smaller; the default splits by patient",
            stacklevel=3,
        )
