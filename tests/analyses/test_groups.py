import math
from itertools import combinations, product

import numpy as np
import polars as pl
import pytest
from scipy import stats

from bequest.analyses.groups import Group, counted, difference, grouped, jackknife, ranged, rank_correlation


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
    assert Group("finetune & finetune", within[:1], (1.0,)).replicas == 2  # the runs, not their one pair


def test_a_pair_that_is_the_sum_of_its_runs_has_student_s_interval_over_runs():
    effects = {"a/0": 1.0, "a/1": 2.0, "a/2": 4.0, "a/3": -1.0}
    names = tuple(combinations(effects, 2))
    mean = Group("other", names, tuple(effects[a] + effects[b] for a, b in names)).mean
    runs = [2 * value for value in effects.values()]
    low, high = stats.t.interval(0.95, 3, loc=3.0, scale=stats.sem(runs))
    assert (mean.value, mean.low, mean.high, mean.n) == pytest.approx((3.0, low, high, 6))


def test_two_arms_add_their_variances_and_a_reference_has_none():
    left, right = {"finetune/0": 1.0, "finetune/1": 3.0, "finetune/2": 8.0}, {"randinit/0": 0.0, "randinit/1": 5.0}
    names = tuple(product(left, right))
    found = jackknife(Group("finetune & randinit", names, tuple(left[a] + right[b] for a, b in names)))
    wanted = math.hypot(stats.sem(list(left.values())), stats.sem(list(right.values())))
    assert (found.error, found.freedom) == (pytest.approx(wanted), 1)
    beside_p = Group("P & finetune", tuple(("P", name) for name in left), tuple(left.values()))
    found = jackknife(beside_p)
    assert (found.error, found.freedom) == (pytest.approx(stats.sem(list(left.values()))), 2)
    one_random = Group("finetune & randinit", tuple((name, "randinit/0") for name in left), tuple(left.values()))
    assert jackknife(one_random) is None  # how random inits differ is not known from one


def test_repeats_of_one_init_are_one_replica():
    def same(*pairs_):
        return Group("randinit, same init", pairs_, tuple(float(index) for index in range(len(pairs_))))

    one = same(("randinit/0", "randinit/0b"), ("randinit/0", "randinit/0c"), ("randinit/0b", "randinit/0c"))
    assert one.replicas == 1 and one.mean.low is None
    three = same(*((f"randinit/{k}", f"randinit/{k}b") for k in range(3)))
    low, high = stats.t.interval(0.95, 2, loc=1.0, scale=stats.sem([0.0, 1.0, 2.0]))
    assert three.replicas == 3 and (three.mean.low, three.mean.high) == pytest.approx((low, high))


def test_a_single_pair_has_no_interval_and_no_certain_difference():
    one = Group("other", (("a/0", "a/1"),), (1.0,))
    two = Group("other", (("a/0", "a/1"), ("a/0", "a/2"), ("a/1", "a/2")), (1.0, 2.0, 4.0))
    assert one.mean.low is None
    assert difference(one, two).low is None
    star = Group("other", (("a/0", "a/1"), ("a/0", "a/2")), (1.0, 2.0))
    assert star.mean.low is None  # without a/0 there is no pair
    apart = difference(two, Group("other", two.pairs, (0.0, 0.0, 0.0)))
    assert (apart.low, apart.high) == pytest.approx((two.mean.low, two.mean.high))
    assert ranged(one.mean) == "1.00" and ranged(two.mean, ".1f") == "2.3 (-5.3 to 9.9)"


def simulated(generator, arms, own, apart):
    """Pairs within one arm, or across two: the sum of what the runs bring (sd 1 each), and a part of the pair's own."""
    names = [f"{arm}/{k}" for arm, count in arms.items() for k in range(count)]
    effect = dict(zip(names, own * generator.normal(size=len(names)), strict=True))
    chosen = [(a, b) for a, b in combinations(names, 2) if len(arms) == 1 or a.split("/")[0] != b.split("/")[0]]
    values = [effect[a] + effect[b] + apart * generator.normal() for a, b in chosen]
    return Group("other", tuple(chosen), tuple(values))


@pytest.mark.parametrize(
    ("arms", "own", "apart", "least", "most"),
    [
        ({"a": 3}, 1.0, 0.0, 0.93, 0.97),
        ({"a": 5}, 1.0, 0.0, 0.93, 0.97),
        ({"a": 3}, 1.0, 1.0, 0.94, 1.0),
        ({"a": 3}, 0.0, 1.0, 0.96, 1.0),  # independent pairs: wider than need be
        ({"a": 5}, 0.0, 1.0, 0.96, 1.0),
        ({"a": 3, "b": 3}, 1.0, 0.0, 0.95, 1.0),  # the smaller arm's t is wide for two arms of three
        ({"a": 3, "b": 3}, 0.0, 1.0, 0.96, 1.0),
    ],
)
def test_the_interval_covers_the_truth(arms, own, apart, least, most):
    generator = np.random.default_rng(0)
    means = [simulated(generator, arms, own, apart).mean for _ in range(1200)]
    assert least <= sum(mean.low <= 0 <= mean.high for mean in means) / len(means) <= most


@pytest.mark.parametrize("shared", [False, True])
def test_the_interval_of_a_difference_covers_the_truth_also_where_runs_are_in_both_groups(shared):
    generator = np.random.default_rng(1)
    covered = []
    for _ in range(800):
        names = [f"{arm}/{k}" for arm in "ab" for k in range(3)]
        effect = dict(zip(names, generator.normal(size=6), strict=True))
        within = tuple(combinations(names[:3], 2))
        other = tuple(product(names[:3], names[3:])) if shared else tuple(combinations(names[3:], 2))
        sums = [tuple(effect[a] + effect[b] for a, b in chosen) for chosen in (within, other)]
        found = difference(Group("other", within, sums[0]), Group("other", other, sums[1]))
        covered.append(found.low <= 0 <= found.high)
    assert 0.95 <= sum(covered) / len(covered)


def test_rank_correlation_is_spearman_s_also_with_ties():
    x, y = [1.0, 2.0, 2.0, 5.0, 3.0], [2.0, 1.0, 4.0, 4.0, 4.0]
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert rank_correlation([1, 2, 3], [10, 20, 30]) == 1.0
    assert math.isnan(rank_correlation([1, 2], [3, 3]))


def test_counts_have_their_plural():
    assert [counted(n, "pair") for n in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]
