"""Which pairs are put on a line by default."""

from bequest.study.functions.measuring import default_pairs

NAMES = ["finetune/0", "finetune/1", "randinit/0", "randinit/1", "randinit/0b"]


def test_pairs_within_each_arm_the_same_init_and_one_across():
    assert default_pairs(NAMES) == [
        ("finetune/0", "finetune/1"),
        ("randinit/0", "randinit/1"),
        ("randinit/0", "randinit/0b"),
        ("finetune/0", "randinit/0"),
    ]


def test_an_arm_that_failed_leaves_the_other():
    assert default_pairs(["randinit/0", "randinit/1"]) == [("randinit/0", "randinit/1")]
    assert default_pairs(["finetune/0"]) == []


def test_the_pair_across_takes_the_first_runs_that_are_there():
    assert ("finetune/1", "randinit/0") in default_pairs(["finetune/1", "finetune/2", "randinit/0"])
