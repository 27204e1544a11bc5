import math

import polars as pl
import pytest
from scipy import stats

from bequest.analyses.groups import Group, difference, grouped, ranged, rank_correlation


def pairs(*rows):
    return pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String, "value": pl.Float64}, orient="row")


def test_pairs_go_to_their_kind_and_repeats_of_an_init_only_to_their_own():
    groups = grouped(
        pairs(
            ("randinit/0", "randinit/1", 1.0),
            ("randinit/0", "randinit/0b", 2.0),
            ("randinit/1", "randinit/0b", 3.0),
            ("finetune/0", "randinit/0b", 4.0),
            ("P", "finetune/0", 5.0),
            ("P", "finetune/1", math.nan),
            ("finetune/0", "finetune/1", None),
        )
    )
    assert {name: group.values for name, group in groups.items()} == {
        "randinit & randinit": (1.0,),
        "randinit, same init": (2.0,),
        "P & finetune": (5.0,),
    }


def test_replicas_are_counted_and_not_pairs():
    names = [f"finetune/{k}" for k in range(5)]
    within = tuple((a, b) for i, a in enumerate(names) for b in names[i + 1 :])
    across = tuple((a, f"randinit/{k}") for a in names for k in range(3))
    assert Group("finetune & finetune", within, (1.0,) * 10).replicas == 5
    assert Group("finetune & randinit", across, (1.0,) * 15).replicas == 3
    assert Group("P & finetune", tuple(("P", name) for name in names), (1.0,) * 5).replicas == 5
    assert Group("finetune & finetune", within[:1], (1.0,)).replicas == 1


def test_three_pairs_of_three_replicas_have_student_s_interval():
    trio = (("a/0", "a/1"), ("a/0", "a/2"), ("a/1", "a/2"))
    mean = Group("other", trio, (1.0, 2.0, 4.0)).mean
    low, high = stats.t.interval(0.95, 2, loc=7 / 3, scale=stats.sem([1.0, 2.0, 4.0]))
    assert (mean.value, mean.low, mean.high, mean.n) == pytest.approx((7 / 3, low, high, 3))


def test_a_single_pair_has_no_interval_and_no_certain_difference():
    one = Group("other", (("a/0", "a/1"),), (1.0,))
    two = Group("other", (("a/0", "a/1"), ("a/0", "a/2"), ("a/1", "a/2")), (1.0, 2.0, 4.0))
    assert one.mean.low is None
    assert difference(one, two).low is None
    apart = difference(two, Group("other", two.pairs, (0.0, 0.0, 0.0)))
    assert (apart.low, apart.high) == pytest.approx((two.mean.low, two.mean.high))
    assert ranged(one.mean) == "1.00" and ranged(two.mean, ".1f") == "2.3 (-1.5 to 6.1)"


def test_rank_correlation_is_spearman_s_also_with_ties():
    x, y = [1.0, 2.0, 2.0, 5.0, 3.0], [2.0, 1.0, 4.0, 4.0, 4.0]
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert rank_correlation([1, 2, 3], [10, 20, 30]) == 1.0
    assert math.isnan(rank_correlation([1, 2], [3, 3]))
