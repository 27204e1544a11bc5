import polars as pl

from bequest.analyses.result import table
from bequest.report.contrasts import contrasts


def rows(*compared, target="line", split="test"):
    made = []
    for place, (a, b) in enumerate(compared):
        ends = {"low": -0.1 * place - 0.02, "high": -0.1 * place + 0.02, "n": 3}
        made.append({"metric": "error_difference", "a": a, "b": b, "split": split, "value": -0.1 * place, **ends})
        speed = {"metric": "mean_train_accuracy_difference", "a": a, "b": b, "split": "train", "value": 0.05}
        made.append({**speed, "low": None, "high": None, "n": 1})
    return table("learning_curves", made).with_columns(target=pl.lit(target, pl.String))


GAIN, SCALE, FEATURES = ("finetune", "randinit"), ("meanvar", "randinit"), ("finetune", "meanvar")


def test_differences_stand_in_the_order_of_the_argument_in_points():
    made = contrasts(rows(FEATURES, SCALE, GAIN), ("line",))
    assert made is not None and made.headers[0] == "what it tells" and len(made.headers) == len(made.numeric)
    assert [row[:3] for row in made.rows] == [
        ["all of pre-training", "finetune minus randinit", "\u221220.0"],
        ["mean and variance of P's weights alone", "meanvar minus randinit", "\u221210.0"],
        ["features, on top of mean and variance", "finetune minus meanvar", "\u22120.0"],
    ]
    assert made.rows[0][3:] == ["\u221222.0 to \u221218.0", "+5.0", "\u2013", "3"]


def test_targets_come_in_the_order_of_the_study():
    both = pl.concat([rows(GAIN, SCALE), rows(GAIN, SCALE, target="mono", split="validation")])
    made = contrasts(both, ("mono", "line"))
    assert made is not None and [row[0] for row in made.rows] == ["mono", "mono", "line", "line"]


def test_without_control_arms_there_is_no_table():
    assert contrasts(rows(GAIN), ("line",)) is None
    assert contrasts(pl.DataFrame({"metric": ["error"]}), ()) is None
