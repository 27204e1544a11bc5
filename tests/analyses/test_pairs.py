from itertools import combinations

import numpy as np
import pytest

from bequest.analyses.pairs import (
    ACROSS,
    ARMS,
    KINDS,
    LOOKS,
    arm,
    kind,
    repeats_init,
    replica_pairs,
    replicas,
    same_init,
)


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


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ("meanvar/0", "meanvar/1", "meanvar & meanvar"),
        ("shuffled/2", "shuffled/1", "shuffled & shuffled"),
        ("probe/0", "probe/1", "probe & probe"),
        ("probe/0", "P", "P & probe"),
        ("meanvar/0", "P", "P & meanvar"),
        ("probe/0", "finetune/1", "finetune & probe"),
        ("meanvar/0", "randinit/1", ACROSS),
        ("meanvar/0", "shuffled/1", ACROSS),
        ("probe/0", "mine", "other"),
    ],
)
def test_kinds_of_control_arms(a, b, wanted):
    assert kind(a, b) == kind(b, a) == wanted
    assert list(LOOKS) == list(KINDS) and wanted in LOOKS


def linear(colour):
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    x, y, z = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


EYES = {  # Machado et al. 2009, severity 1
    "all": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def test_arms_are_told_apart_by_all_eyes_on_white_and_on_black():
    weights = [0.2126, 0.7152, 0.0722]
    for colour in ARMS.values():
        luminance = float(linear(colour) @ weights)
        dark = float(linear("#1c2025") @ weights)
        assert 1.05 / (luminance + 0.05) >= 3 and (luminance + 0.05) / (dark + 0.05) >= 2.8, colour
    for eye, matrix in EYES.items():
        seen = {name: lab(np.array(matrix) @ linear(colour)) for name, colour in ARMS.items() if name != "other"}
        for a, b in combinations(seen, 2):
            assert np.linalg.norm(seen[a] - seen[b]) > (15 if {a, b} == {"finetune", "P"} else 20), (eye, a, b)


def test_kinds_differ_in_colour_dash_or_shape():
    looks = [(look.colour, look.dash, look.shape) for look in LOOKS.values()]
    assert len(set(looks)) == len(looks)
    lines = [(look.colour, look.dash) for name, look in LOOKS.items() if name not in {ACROSS, "other"}]
    assert len(set(lines)) == len(lines)
    dots = [(look.colour, look.shape) for name, look in LOOKS.items()]
    assert len(set(dots)) == len(dots)
