import pytest

from bequest.analyses.conditions import trained, training_rows, tuning_rows, untrained, untuned
from bequest.analyses.result import table

ARMS = ("finetune", "randinit")


def rows(errors, chance):
    return table("any", [{"metric": "other", "a": "P"}, *training_rows(errors, chance)])


def test_an_arm_trained_if_its_runs_are_right_twice_as_often_as_by_chance():
    errors = {"finetune/0": 0.1, "finetune/1": 0.3, "randinit/0": 0.79, "shuffled/0": 0.95}
    assert untrained(errors, 0.1, ARMS) is None  # 21 % right of 10 % by chance; shuffled is not asked about
    found = untrained(errors | {"randinit/1": 0.9}, 0.1, ARMS)
    assert found == "randinit is hardly better than chance here (15.5 % right, 10.0 % by chance)"
    assert untrained(errors, 0.1, ("finetune", "probe")) is None


@pytest.mark.parametrize(
    ("errors", "chance", "failed", "known"),
    [
        ({"finetune/0": 0.1, "randinit/0": 0.2}, 0.1, False, True),
        ({"finetune/0": 0.1, "randinit/0": 0.9}, 0.1, True, True),
        ({"finetune/0": 0.9}, 0.1, True, False),
        ({"finetune/0": 0.1}, 0.1, False, False),
        ({"finetune/0": 0.1, "randinit/0": 0.9}, None, False, False),
        (None, 0.1, False, False),
        (None, None, False, False),
    ],
)
def test_what_the_rows_say_of_training(errors, chance, failed, known):
    found = trained(rows(errors, chance))
    assert (found[0] is not None, found[1]) == (failed, known)


def test_errors_in_percent_are_refused():
    with pytest.raises(ValueError, match="error of 'finetune/0' is 12"):
        rows({"finetune/0": 12}, 0.1)
    with pytest.raises(ValueError, match="accuracy by chance is 10"):
        rows({}, 10)


def test_only_a_learning_rate_inside_a_sweep_is_tuned():
    sweep = {arm: [0.01, 0.1, 1.0] for arm in ARMS}
    assert untuned(table("any", tuning_rows(sweep, dict.fromkeys(ARMS, 0.1)))) == []
    assert untuned(table("any", [])) == ["learning rates not known to be tuned"]
    mixed = table("any", tuning_rows({"finetune": [0.1]}, {"finetune": 0.1, "randinit": 0.3}))
    assert untuned(mixed) == [
        "learning rate of randinit not known to be tuned",
        "the learning rate of finetune was not tuned",
    ]
