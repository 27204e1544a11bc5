import polars as pl

from bequest.report.terms import terms


def rows(*names):
    return pl.DataFrame({"a": [*names, None]}, schema={"a": pl.String})


def test_the_words_of_a_study_without_control_arms():
    found = dict(terms({"learning_curves": rows("finetune/0", "finetune", "randinit/0b")}))
    assert list(found) == ["P", "finetune", "randinit"] and all(found.values())


def test_control_arms_are_explained_where_there_are_any():
    found = terms({"mistakes": rows("finetune/0"), "distance": rows("probe/0", "meanvar/1"), "x": pl.DataFrame()})
    assert [word for word, _ in found] == ["P", "finetune", "randinit", "meanvar", "probe"]


def test_other_names_need_no_words():
    assert terms({"mistakes": rows("mine", "yours")}) == [] == terms({})
