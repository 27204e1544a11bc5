"""What does a table of examples say: which column is what, which classes are there, which side is each row on?

A table is a CSV (or a TSV) with a header, or lines of JSON. Every message names the file and the line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from bequest.data.source import Split, Target

SIDES: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
LONGEST_NUMBER = 100  # chosen: digits of a class; Python reads no more than 4,300
YES_NO = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0, "": None, "nan": None}


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Attributes:
        path: the file.
        columns: names of the columns.
        rows: the fields of each row, as text.
        lines: line of each row in the file, from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    lines: tuple[int, ...]

    def where(self, index: int) -> str:
        """File and line of a row, for messages."""
        return f"{self.path}:{self.lines[index]}"

    def column(self, asked: str | None, known: Sequence[str], option: str) -> str:
        """Find a column.

        Args:
            asked: the name that was asked for, or None.
            known: names that are tried otherwise, in this order, in any case.
            option: the option that asks for it, for the message.

        Returns:
            The name of the column.

        Raises:
            ValueError: if there is none, with the columns there are.
        """
        found = self.optional_column(asked, known)
        if found is None:
            raise ValueError(
                f"{self.path} has no column {' or '.join(known)}; "
                f"say {option}=COLUMN with one of: {', '.join(self.columns)}"
            )
        return found

    def optional_column(self, asked: str | None, known: Sequence[str]) -> str | None:
        """Find a column that need not be there.

        Args:
            asked: the name that was asked for, or None.
            known: names that are tried otherwise.

        Returns:
            The name of the column, or None if none was asked for and none is known.

        Raises:
            ValueError: if one was asked for that is not there, with the nearest.
        """
        if asked is not None:
            if asked in self.columns:
                return asked
            near = get_close_matches(asked, self.columns, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{self.path} has no column {asked!r}; {hint}Columns: {', '.join(self.columns)}")
        lower = {column.lower(): column for column in reversed(self.columns)}
        return next((lower[name] for name in known if name in lower), None)


def read_table(path: Path) -> Table:
    """Read a CSV, a TSV or lines of JSON.

    Args:
        path: the file; `.tsv` is separated by tabs, `.jsonl` has an object a line, everything else commas.

    Returns:
        The table.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is not UTF-8, has no rows, or a line cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the table {path} {'is a folder' if path.is_dir() else 'does not exist'}")
    try:
        columns, rows, lines = _read_json(path) if path.suffix == ".jsonl" else _read_csv(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 (byte {error.start:,}); save it as UTF-8") from None
    if not rows:
        raise ValueError(f"{path} has no rows")
    return Table(path, tuple(columns), tuple(rows), tuple(lines))


def single_labels(table: Table, column: str) -> tuple[tuple[str, ...], list[Target]]:
    """Read one class a row.

    Args:
        table: the table.
        column: with names or numbers of classes.

    Returns:
        Names of the classes, sorted (numbers as numbers), and the index of each row's class.

    Raises:
        ValueError: if a row has none.
    """
    words = [row[column].strip() for row in table.rows]
    for index, word in enumerate(words):
        if not word:
            raise ValueError(f"{table.where(index)}: {column} is blank; fill it in or remove the row")
    classes = in_order(set(words))
    place = {word: index for index, word in enumerate(classes)}
    return classes, [place[word] for word in words]


def joined_labels(table: Table, column: str, between: str) -> tuple[tuple[str, ...], list[Target]]:
    """Read several classes a row from one column.

    Args:
        table: the table.
        column: as "cat|dog"; blank for no class.
        between: what stands between two classes.

    Returns:
        Names of the classes, sorted, and 0 or 1 for each class and row.

    Raises:
        ValueError: if no row has any class, or nothing is between.
    """
    if not between:
        raise ValueError(f"between is what stands between two labels of a row of {table.path}; it cannot be empty")
    sets = [{word.strip() for word in row[column].split(between)} - {""} for row in table.rows]
    classes = in_order(set().union(*sets))
    if not classes:
        raise ValueError(f"{table.path}: {column} is blank in every row")
    return classes, [tuple(float(name in one) for name in classes) for one in sets]


def label_columns(table: Table, columns: Sequence[str]) -> tuple[tuple[str, ...], list[Target]]:
    """Read a column for each class.

    Args:
        table: the table.
        columns: with 0 or 1; blank for missing.

    Returns:
        The columns, and 0, 1 or None (missing) for each class and row.

    Raises:
        ValueError: if a column is not there or holds something else.
    """
    names = tuple(table.column(column, (), "labels") for column in columns)
    targets: list[Target] = []
    for index, row in enumerate(table.rows):
        for name in names:
            if row[name].strip().lower() not in YES_NO:
                raise ValueError(f"{table.where(index)}: {name} is {row[name]!r}, not 0, 1 or blank (missing)")
        targets.append(tuple(YES_NO[row[name].strip().lower()] for name in names))
    return names, targets


def sides(table: Table, column: str | None) -> list[Split | None]:
    """Read the side of the split of each row.

    Args:
        table: the table.
        column: with "train", "validation" (or "val", "valid", "dev") or "test"; None for no such column.

    Returns:
        The sides, or None for each row.

    Raises:
        ValueError: if a row has another word, or none is train.
    """
    if column is None:
        return [None] * len(table.rows)
    found: list[Split | None] = []
    for index, row in enumerate(table.rows):
        word = row[column].strip().lower()
        if word not in SIDES:
            raise ValueError(f"{table.where(index)}: {column} is {row[column]!r}, not train, validation or test")
        found.append(SIDES[word])
    if "train" not in found:
        raise ValueError(f"{table.path}: {column} names no row of train")
    return found


def in_order(names: set[str]) -> tuple[str, ...]:
    """Sort names of classes, numbers as numbers."""
    if all(name.isdecimal() and len(name) <= LONGEST_NUMBER for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str]], list[int]]:
    rows, lines = [], []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        try:
            columns = next(reader, [])
            if len(set(columns)) < len(columns):
                raise ValueError(f"{path} has two columns of the same name: {', '.join(columns)}")
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(columns):
                    raise ValueError(f"{path}:{reader.line_num}: {len(fields)} fields, but {len(columns)} columns")
                rows.append(dict(zip(columns, fields, strict=True)))
                lines.append(reader.line_num)
        except csv.Error as error:
            raise ValueError(f"{path}:{reader.line_num}: {error}") from None
    return columns, rows, lines


def _read_json(path: Path) -> tuple[list[str], list[dict[str, str]], list[int]]:
    columns: dict[str, None] = {}
    found, lines = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            if "\\u" in line:  # half of a character can be written this way, and nowhere else
                json.dumps(fields, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError(f"{path}:{number}: half of a character (\\ud800 to \\udfff); mend the line") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: {error}") from None
        if not isinstance(fields, dict):
            raise ValueError(f"{path}:{number}: not an object in braces")
        found.append({key: "" if value is None else str(value) for key, value in fields.items()})
        lines.append(number)
        columns.update(dict.fromkeys(fields))
    return list(columns), [{column: row.get(column, "") for column in columns} for row in found], lines
