import pytest

from bequest.data.kinds import check_kind


def test_kinds_are_taken_apart() -> None:
    assert check_kind("none") == ("none",)
    assert check_kind("crop+flip+rotate") == ("crop", "flip", "rotate")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("flipp", "no augmentation 'flipp'; did you mean 'flip'"),
        ("crop+rotat", "no augmentation 'rotat'; did you mean 'rotate'"),
        ("", "no augmentation ''; Known: none, crop"),
        ("none+crop", "joins none with something"),
    ],
)
def test_unknown_kinds(kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_kind(kind)
