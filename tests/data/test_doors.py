import pytest

from bequest.data.doors import DOORS, open_source
from bequest.data.source import SPLITS


@pytest.mark.parametrize("door", DOORS)
def test_every_door_opens_and_says_its_name(door: str) -> None:
    source = open_source(door)
    assert source.name == door
    assert source.attribution
    assert {record.split for record in source.records} == set(SPLITS)
    assert {record.target for record in source.records} == set(range(len(source.classes)))
    assert len({record.name for record in source.records}) == len(source.records)


@pytest.mark.parametrize(
    ("door", "near"), [("emoji:lines", "emoji:line"), ("digit", "digits"), ("emoji:colour", "emoji:color")]
)
def test_unknown_door_names_the_nearest(door: str, near: str) -> None:
    with pytest.raises(ValueError, match=rf"no data called '{door}'; did you mean '{near}'\?"):
        open_source(door)


def test_a_door_unlike_any_other_lists_all() -> None:
    with pytest.raises(ValueError, match=r"Known: emoji:color, .*folder:DIR"):
        open_source("zzz")


def test_a_folder_has_to_be_named() -> None:
    with pytest.raises(ValueError, match=r"names no folder; write folder:DIR"):
        open_source("folder:")
