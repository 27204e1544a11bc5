from pathlib import Path
from typing import Literal

import pytest

from bequest.data.doors import PLACES
from bequest.data.options import option_types, read_options, split_door


def opener(
    place: Path,
    *,
    views: Literal["all", "frontal"] = "all",
    share: float = 0.1,
    most: int | None = None,
    columns: tuple[str, ...] | None = None,
    between: str | None = None,
) -> None:
    """Open nothing."""


@pytest.mark.parametrize(
    ("door", "parts"),
    [
        ("a:b/c", ("a", "b/c", "")),
        ("a:b?x=1&y=2", ("a", "b", "x=1&y=2")),
        ("a:what?/c", ("a", "what?/c", "")),
        ("a:why?/c?x=1", ("a", "why?/c", "x=1")),
        ("a:C:/data?x=1", ("a", "C:/data", "x=1")),
        ("a", ("a", "", "")),
    ],
)
def test_a_door_is_taken_apart(door: str, parts: tuple[str, str, str]) -> None:
    assert split_door(door) == parts


def test_values_take_the_types_of_the_arguments() -> None:
    text = "views=frontal&share=0.25&most=7&columns=a, b c,d%26e&between=%3D"
    assert read_options(opener, text, "d") == {
        "views": "frontal",
        "share": 0.25,
        "most": 7,
        "columns": ("a", "b c", "d&e"),
        "between": "=",
    }
    assert read_options(opener, "", "d") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("view=all", "d: there is no option 'view'; did you mean 'views'"),
        ("place=x", "no option 'place'"),
        ("zzz=1", "'zzz'; Known: views, share, most, columns, between"),
        ("views=frontl", "d: views is 'frontl'; did you mean 'frontal'"),
        ("share=x", "d: share is 'x', not a number"),
        ("most=1.5", "d: most is '1.5', not a whole number"),
        ("most=1&most=2", "write most=VALUE, once"),
        ("views", "write views=VALUE, once"),
        ("views=all&", "no option ''"),
    ],
)
def test_what_does_not_fit_names_the_way_out(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        read_options(opener, text, "d")


def test_every_option_of_every_door_can_be_written() -> None:
    for _, place in PLACES.values():
        for hint in option_types(place).values():
            words = str(hint)
            assert any(kind in words for kind in ("Literal", "int", "float", "str")), (place, hint)
