"""What are the emoji of EmojiNet-12 called?

One text a group: Unicode's name of the emoji that stands for it, in small letters ("face with tears of joy"), with the
class, group and side that its picture has in the other domains.
"""

from __future__ import annotations

import json

from bequest.data.emoji_bases import SUBCATEGORIES, emoji_table, groups_file, metadata_file
from bequest.data.source import Record, Source
from bequest.data.splits import split_groups


def open_emoji_names() -> Source:
    """Open the names of the emoji.

    Returns:
        The source; 12 classes, half of the groups in train, a sixth in validation, a third in test.
    """
    entries = json.loads(metadata_file().read_text(encoding="utf-8"))
    names = {entry["short_name"]: entry["name"] or entry["short_name"].replace("_", " ") for entry in entries}
    firsts = [emoji for emoji in emoji_table() if emoji.first]
    sides = split_groups([emoji.group for emoji in firsts], [emoji.target for emoji in firsts])
    records = tuple(
        Record(emoji.name, emoji.group, emoji.target, None, side, names[emoji.name].lower())
        for emoji, side in zip(firsts, sides, strict=True)
    )
    return Source(
        name="emoji:names",
        classes=tuple(SUBCATEGORIES),
        records=records,
        attribution="Names of characters by the Unicode Consortium. License: Unicode License v3",
        files=(metadata_file(), groups_file()),
        recipe="names of the emoji, in small letters",
    )
