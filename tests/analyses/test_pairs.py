import pytest

from bequest.analyses.pairs import KINDS, arm, kind, repeats_init, same_init


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
