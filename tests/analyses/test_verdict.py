import polars as pl
import pytest

from bequest.analyses.verdict import CLAIMS, Verdict, combine, judge_targets, trained_accuracy


def part(status, target="line", claim="C1"):
    return Verdict(claim, status, f"Because of {target}.", "a rule", n=3, low=0.1, high=0.2, target=target)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["holds", "holds"], "holds"),
        (["does not hold", "does not hold"], "does not hold"),
        (["holds", "does not hold"], "holds under conditions"),
        (["holds under conditions", "holds"], "holds under conditions"),
        (["holds", "inconclusive"], "inconclusive"),
        (["does not hold", "inconclusive"], "inconclusive"),
    ],
)
def test_combine(words, wanted):
    joined = combine([part(word, str(index)) for index, word in enumerate(words)])
    assert joined.status == wanted
    assert [one.status for one in joined.parts] == words
    assert joined.n == 6 and "1: " in joined.sentence


def test_combine_one_is_itself_and_mixed_claims_are_refused():
    assert combine([part("holds")]) == part("holds")
    with pytest.raises(ValueError, match="one claim"):
        combine([part("holds"), part("holds", claim="C2")])
    with pytest.raises(ValueError, match="one claim"):
        combine([])


def test_judge_targets_asks_for_each_target_in_order_and_leaves_out_the_silent():
    rows = pl.DataFrame({"target": ["line", "mono", "line", "flat"], "metric": "m", "a": "P"})

    def judge(part_rows, target):
        assert part_rows["target"].unique().to_list() == [target]
        return None if target == "flat" else part("holds", target)

    (found,) = judge_targets(rows, judge)
    assert [one.target for one in found.parts] == ["line", "mono"]
    assert judge_targets(rows, lambda *_: None) == ()
    assert judge_targets(rows.clear(), judge) == ()


def test_trained_means_twice_chance_but_less_where_guessing_is_easy():
    assert trained_accuracy(1 / 12) == pytest.approx(1 / 6)
    assert trained_accuracy(0.5) == pytest.approx(0.625)
    assert trained_accuracy(0.0) == 0.0


def test_there_are_eleven_claims():
    assert list(CLAIMS) == [f"C{number}" for number in range(1, 12)]
