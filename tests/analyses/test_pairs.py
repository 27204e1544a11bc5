import pytest

from bequest.analyses.pairs import KINDS, arm, kind, repeats_init, replica_pairs, replicas, same_init


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ("finetune/0", "finetune/1", "finetune & finetune"),
        ("randinit/0", "randinit/1", "randinit & randinit"),
        ("randinit/0", "randinit/0b", "randinit, same init"),
        ("randinit/0b", "randinit/1", "randinit & randinit"),
        ("randinit/2", "finetune/0", "finetune & randinit"),
        ("finetune/0", "P", "P & finetune"),
        ("randinit/0", "P", "P & randinit"),
        ("mine", "yours", "other"),
    ],
)
def test_kind_in_both_orders(a, b, wanted):
    assert kind(a, b) == kind(b, a) == wanted
    assert wanted in KINDS


def test_parts_of_names():
    assert (arm("finetune/0"), arm("P"), arm("a/b/c")) == ("finetune", "P", "a")
    assert not same_init("randinit/0", "randinit/0")
    assert same_init("randinit/0b", "randinit/0c")
    assert not same_init("randinit/1", "randinit/11")
    assert [repeats_init(name) for name in ("randinit/0", "randinit/0b", "P", "mine")] == [False, True, False, False]


def test_replicas_are_grouped_and_paired():
    names = ["probe/0", "randinit/0", "randinit/0b", "finetune/1", "finetune/0", "mine"]
    groups = replicas(names)
    assert list(groups) == ["finetune", "randinit", "probe", "mine"]
    assert groups["finetune"] == ["finetune/1", "finetune/0"] and groups["randinit"] == ["randinit/0"]
    assert replica_pairs(["a/1", "a/0", "a/2"], ["b/0", "b/1"]) == [("a/1", "b/1"), ("a/0", "b/0")]
    assert replica_pairs(["a/3"], ["b/4"]) == [("a/3", "b/4")]
