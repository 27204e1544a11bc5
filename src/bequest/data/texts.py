"""How is a CSV of texts read?

FILE has a header, a column of texts and a column of classes; without classes the texts themselves are what is to be
said, token by token (the task `language-modelling`). Equal texts, whatever their spaces and capitals, are one
group. A record holds its text as it stands; how it becomes tokens is the model's affair.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from bequest.data.assemble import Example, assemble
from bequest.data.listed import LABELS, read_targets
from bequest.data.source import Source, Target
from bequest.data.table import Table, read_table, sides

TEXTS = ("text", "sentence", "content", "document", "review")
NO_CLASSES = "none"  # as the name of the column of classes


def open_texts(
    file: Path,
    *,
    text: str | None = None,
    label: str | None = None,
    labels: tuple[str, ...] | None = None,
    between: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> Source:
    """Open a CSV of texts.

    Args:
        file: the CSV; a TSV or lines of JSON will do.
        text: column of the texts; None looks for `TEXTS`.
        label: column of the class; None looks for label, class, target, category, and if there is none the texts have
            no classes; "none" leaves the classes out.
        labels: columns of 0 and 1, one a class, instead of `label`; blank is missing.
        between: what joins several classes in the column `label`.
        split: column of train, validation and test; None takes a column `split` if there is one.
        group: column of what must stay on one side; None takes a column `group` if there is one.

    Returns:
        The source; its records have `text` and no `draw`, and are named after their lines. Without classes their target
        is 0 and means nothing.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if a column or a field cannot be read, a text is blank, or a group is on two sides.
    """
    table = read_table(file)
    classes, targets = _targets(table, label, labels, between)
    given = sides(table, table.optional_column(split, ("split",)))
    column, groups = table.column(text, TEXTS, "text"), table.optional_column(group, ("group",))
    examples = []
    for index, row in enumerate(table.rows):
        if not row[column].strip():
            raise ValueError(f"{table.where(index)}: {column} is blank; fill it in or remove the row")
        plain = " ".join(row[column].split()).casefold()
        digest = hashlib.sha256(plain.encode()).hexdigest()
        own = row[groups].strip() if groups is not None else None
        name = f"line {table.lines[index]}"
        examples.append(Example(name, targets[index], digest, given[index], group=own, text=row[column]))
    return assemble(
        f"text:{file.name}", classes, examples, where=str(file), attribution=f"Texts of {file.name}", files=[file]
    )


def _targets(
    table: Table, label: str | None, labels: tuple[str, ...] | None, between: str | None
) -> tuple[tuple[str, ...], list[Target]]:
    without = label == NO_CLASSES and NO_CLASSES not in table.columns
    if label is None and labels is None and between is None:
        without = table.optional_column(None, LABELS) is None
    return ((), [0] * len(table.rows)) if without else read_targets(table, label, labels, between)
