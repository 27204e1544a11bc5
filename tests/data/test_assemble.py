from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bequest.data.assemble import Example, assemble
from bequest.data.copies import without_copies
from bequest.data.source import Source
from bequest.data.splits import complete_splits

SIDES = ("train", "validation", "test")


def made(examples: list[Example], classes: tuple[str, ...] = ("a", "b")) -> Source:
    return assemble("x", classes, examples, where="FILE", attribution="nobody", files=[Path("FILE")], recipe="crop")


def examples(count: int = 24, **same: object) -> list[Example]:
    return [Example(f"n{i}", i % 2, f"d{i}", **same) for i in range(count)]


def test_a_source_in_the_order_of_its_examples() -> None:
    source = made(examples())
    assert [record.name for record in source.records] == [f"n{i}" for i in range(24)]
    assert [record.group for record in source.records] == [f"d{i}" for i in range(24)]
    assert (source.name, source.classes, source.files, source.recipe) == ("x", ("a", "b"), (Path("FILE"),), "crop")
    counts = Counter((record.target, record.split) for record in source.records)
    assert counts == {(t, s): n for t in (0, 1) for s, n in zip(SIDES, (6, 2, 4), strict=True)}


def test_few_nameless_and_torn_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="FILE holds no examples"):
        made([])
    with pytest.raises(ValueError, match="FILE names n0 twice"):
        made([*examples(), Example("n0", 1, "other")])
    with pytest.raises(ValueError, match="two images to train on: b has 0"):
        made([Example(f"n{i}", 0, f"d{i}") for i in range(4)])
    with pytest.raises(ValueError, match="FILE has a single class, a"):
        made([Example(f"n{i}", 0, f"d{i}") for i in range(4)], ("a",))
    torn = [Example("m0", 0, "e0", "train", group="g"), Example("m1", 0, "e1", "test", group="g")]
    with pytest.raises(ValueError, match="1 groups on two sides of the split: g"):
        made([*examples(split="train"), *torn])


def test_with_several_labels_no_class_needs_examples() -> None:
    source = made([Example(f"n{i}", (None, 0.0), f"d{i}") for i in range(12)])
    assert Counter(record.split for record in source.records) == {"train": 6, "validation": 2, "test": 4}


rows = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 5), st.sampled_from([None, *SIDES])), min_size=1, max_size=40
)


@given(rows)
def test_no_content_and_no_group_is_ever_on_two_sides(rows: list[tuple[int, int, str | None]]) -> None:
    side_of = {group: side for _, group, side in rows}  # one side a group, as a list has to have it
    made_of = [
        Example(f"n{i}", (1.0, 0.0), f"d{digest}", side_of[group], group=f"g{group}")
        for i, (digest, group, _) in enumerate(rows)
    ]
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = made(made_of)
    digest_of = {one.name: one.digest for one in made_of}
    for key in (lambda record: record.group, lambda record: digest_of[record.name]):
        sides: dict[str, set[str]] = {}
        for record in source.records:
            sides.setdefault(key(record), set()).add(record.split)
        assert all(len(found) == 1 for found in sides.values())
    given_sides = {f"n{i}": side_of[group] for i, (_, group, _) in enumerate(rows)}
    assert all(r.split == given_sides[r.name] for r in source.records if given_sides[r.name] in ("validation", "test"))
    kept = {digest_of[record.name] for record in source.records}
    assert kept == set(digest_of.values())  # a copy goes, never all copies


def test_copies_leave_the_side_that_learns() -> None:
    with pytest.warns(UserWarning) as caught:
        stay = without_copies(
            ["x", "x", "x", "y", "y", "z"], ["test", "validation", None, "validation", "train", None], "F"
        )
    assert stay == [0, 3, 5]
    assert [str(one.message) for one in caught] == [
        "1 validation images of F are left out: the same files are in test",
        "2 train images of F are left out: the same files are in validation or test",
    ]


@given(st.lists(st.sampled_from([None, *SIDES]), min_size=6, max_size=30))
def test_given_sides_are_kept_and_only_what_lacks_is_cut(sides: list[str | None]) -> None:
    cut = complete_splits([f"g{i}" for i in range(len(sides))], [0] * len(sides), sides)
    for before, after in zip(sides, cut, strict=True):
        if before in ("validation", "test"):
            assert after == before
        elif "test" in sides:
            assert after != "test"
        elif "validation" in sides:
            assert after != "validation"
    assert sides.count("test") in (0, cut.count("test")) and sides.count("validation") in (0, cut.count("validation"))
