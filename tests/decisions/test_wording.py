from bequest.analyses.intervals import Interval
from bequest.decisions.scores import Score
from bequest.decisions.wording import apart, errors, height, listed
from bequest.evaluation.tasks import task

SHARE, LOSS = task("classification"), task("multilabel")


def test_errors_are_percent_where_they_are_shares():
    assert errors(SHARE, 0.125) == errors(SHARE, Score(0.125, 1.0, 8)) == "12.5 %"
    assert errors(LOSS, 0.1234) == "0.123"
    assert height(SHARE, 0.4) == "40.0 points of error"
    assert height(LOSS, 0.4) == "0.4"


def test_a_difference_is_less_or_more_and_its_interval_has_the_same_sense():
    assert apart(SHARE, Interval(-0.02, -0.05, 0.01, 9)) == "2.0 points less (95 % interval -1.0 to 5.0) than"
    assert apart(SHARE, Interval(0.02, -0.01, 0.05, 9)) == "2.0 points more (95 % interval -1.0 to 5.0) than"
    assert apart(LOSS, Interval(0.5, None, None, 9)) == "0.5 more than"


def test_many_names_are_cut():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"
    assert listed(list("abcdefg")) == "a, b, c, d, e, f and g"
