from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bequest.data.splits import split_counts, split_groups

groups_and_targets = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), min_size=1, max_size=80)


@given(groups_and_targets)
def test_no_group_is_on_two_sides_and_every_class_is_on_every_side(rows: list[tuple[int, int]]) -> None:
    targets = [target for _, target in rows]
    groups = [f"{target}/{group}" for group, target in rows]
    splits = split_groups(groups, targets)
    sides = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        sides[group].add(split)
    assert all(len(side) == 1 for side in sides.values())
    for target in set(targets):
        own = {group for group, other in zip(groups, targets, strict=True) if other == target}
        seen = {split for split, other in zip(splits, targets, strict=True) if other == target}
        expected = {1: {"train"}, 2: {"train", "test"}}.get(len(own), {"train", "validation", "test"})
        assert seen == expected


@given(groups_and_targets, st.randoms(use_true_random=False))
def test_order_of_images_does_not_matter(rows: list[tuple[int, int]], random: object) -> None:
    rows = [(group, group % 3) for group, _ in rows]
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    def sides(pairs: list[tuple[int, int]]) -> dict[str, str]:
        names = [str(group) for group, _ in pairs]
        return dict(zip(names, split_groups(names, [target for _, target in pairs]), strict=True))

    assert sides(rows) == sides(shuffled)


def test_a_group_of_two_classes_stays_whole() -> None:
    groups = ["same"] + [f"a{i}" for i in range(8)] + ["same"] + [f"b{i}" for i in range(8)]
    splits = split_groups(groups, [0] * 9 + [1] * 9)
    assert splits[0] == splits[9]


@pytest.mark.parametrize(
    ("n", "shares", "expected"),
    [
        (60, (0.5, 1 / 6, 1 / 3), (30, 10, 20)),
        (3, (0.5, 1 / 6, 1 / 3), (1, 1, 1)),
        (2, (0.5, 1 / 6, 1 / 3), (1, 0, 1)),
        (1, (0.5, 1 / 6, 1 / 3), (1, 0, 0)),
        (12, (0.75, 0.25, 0.0), (9, 3, 0)),
        (2, (0.75, 0.25, 0.0), (1, 1, 0)),
        (5, (0.1, 0.1, 0.8), (1, 1, 3)),
    ],
)
def test_counts(n: int, shares: tuple[float, float, float], expected: tuple[int, int, int]) -> None:
    assert split_counts(n, shares) == expected


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="2 groups need as many targets, not 1"):
        split_groups(["a", "b"], [0])
    with pytest.raises(ValueError, match="sum to 1"):
        split_groups(["a"], [0], shares=(0.5, 0.5, 0.5))
