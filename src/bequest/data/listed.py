"""How is a CSV of images read?

FILE has a header, a column of paths relative to its own folder, and one label a row: a column of classes, a column of
classes joined by a sign (`between`), or a column of 0 and 1 for each class (`labels`). Columns `split` and `group`
are followed if they are there. Without them the split follows from the bytes of the images.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bequest.data.assemble import Example, assemble
from bequest.data.decode import Fit, draw_file
from bequest.data.inside import check_present, inside
from bequest.data.source import Source, Split, Target, file_digest
from bequest.data.table import Table, joined_labels, label_columns, read_table, sides, single_labels

PATHS = ("path", "file_name", "filename", "file", "image", "image_path")
LABELS = ("label", "class", "target", "category")


def open_listed(
    file: Path,
    *,
    path: str | None = None,
    label: str | None = None,
    labels: tuple[str, ...] | None = None,
    between: str | None = None,
    split: str | None = None,
    group: str | None = None,
    fit: Fit = "crop",
) -> Source:
    """Open a CSV of images.

    Args:
        file: the CSV; a TSV or lines of JSON will do.
        path: column of the paths; None looks for `PATHS`.
        label: column of the class; None looks for `LABELS`.
        labels: columns of 0 and 1, one a class, instead of `label`; blank is missing.
        between: what joins several classes in the column `label`, as "|".
        split: column of train, validation and test; None takes a column `split` if there is one.
        group: column of what must stay on one side; None takes a column `group` if there is one.
        fit: see `draw_file`.

    Returns:
        The source.

    Raises:
        FileNotFoundError: if the file or some images are missing.
        ValueError: if a column or a field cannot be read, options exclude each other, a path leaves the folder, a path
            appears twice, or a group is on two sides.
    """
    table = read_table(file)
    classes, targets = read_targets(table, label, labels, between)
    given = sides(table, table.optional_column(split, ("split",)))
    examples = list_examples(table, file.parent, targets, given, path=path, group=group, fit=fit)
    check_present((where for where, _ in examples), str(file))
    return assemble(
        f"csv:{file.name}",
        classes,
        [example for _, example in examples],
        where=str(file),
        attribution=f"Images that {file.name} lists",
        files=[file, *(where for where, _ in examples)],
        recipe=fit,
    )


def read_targets(
    table: Table, label: str | None, labels: tuple[str, ...] | None, between: str | None
) -> tuple[tuple[str, ...], list[Target]]:
    """Read the targets of a table by whichever of the three ways was asked for.

    Args:
        table: the table.
        label: column of the class.
        labels: columns of 0 and 1.
        between: what joins several classes.

    Returns:
        Names of the classes, and the target of each row.

    Raises:
        ValueError: if both ways are asked for, or a field cannot be read.
    """
    if labels is not None:
        if label is not None or between is not None:
            raise ValueError(f"{table.path}: labels={','.join(labels)} excludes label and between; keep one")
        return label_columns(table, labels)
    column = table.column(label, LABELS, "label")
    return single_labels(table, column) if between is None else joined_labels(table, column, between)


def list_examples(
    table: Table,
    root: Path,
    targets: list[Target],
    given: list[Split | None],
    *,
    path: str | None = None,
    group: str | None = None,
    fit: Fit = "crop",
    bound: Path | None = None,
) -> list[tuple[Path, Example]]:
    """Make an example of each row.

    Args:
        table: the table; paths are relative to its folder.
        root: names are relative to it.
        targets: of each row.
        given: its side.
        path: column of the paths.
        group: column of the groups.
        fit: see `draw_file`.
        bound: see `inside`.

    Returns:
        Path and example of each row; missing files have an empty digest.

    Raises:
        ValueError: if a path leaves the folder or a group is blank.
    """
    paths, groups = table.column(path, PATHS, "path"), table.optional_column(group, ("group",))
    found = []
    for index, (row, target, side) in enumerate(zip(table.rows, targets, given, strict=True)):
        where = table.where(index)
        file = inside(table.path.parent, row[paths].strip(), where, bound=bound)
        if groups is not None and not row[groups].strip():
            raise ValueError(f"{where}: {groups} is blank; fill it in or remove the row")
        digest = file_digest(file) if file.is_file() else ""
        name = file.relative_to(root).as_posix()
        own = row[groups].strip() if groups is not None else None
        found.append((file, Example(name, target, digest, side, partial(draw_file, file, fit=fit), own)))
    return found
