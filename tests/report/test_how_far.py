"""The sentence that answers a comparison of weights alone: the numbers of the rows, and no others."""

import pytest

from bequest.analyses.result import table
from bequest.report.how_far import how_far


def told(apart, cosine=(), same=()):
    """What is said of {(a, b): share}, for the whole network."""
    given = {"l2_relative": apart, "cosine": dict(cosine)}
    far = [
        {"metric": metric, "a": a, "b": b, "module": module, "value": value}
        for metric, values in given.items()
        for (a, b), value in values.items()
        for module in ("*", "fc")
    ]
    row = {"metric": "unchanged", "module": "*"}
    kept = [{**row, "a": a, "b": b, "value": value} for (a, b), value in dict(same).items()]
    return how_far(table("distance", far), table("changes", kept))


A, B, C = "finetune/a", "finetune/b", "finetune/c"


def test_with_a_base_the_moves_and_their_direction():
    said = told({("P", A): 0.125, ("P", B): 0.0311, (A, B): 0.1}, {(A, B): 0.456}, {("P", A): 0.25, ("P", B): 0.0001})
    assert said == (
        'Relative to the norm of the base\'s weights, "a" moved by 12.5 % (25 % of its entries unchanged) and "b" '
        'moved by 3.11 %. "a" and "b" are 10 % apart. The cosine between their moves is 0.46: 1 is one direction, 0 '
        "unrelated ones."
    )


def test_two_models_without_a_base_and_the_same_ones():
    assert told({("model/a", "model/b"): 1.3}) == '"a" and "b" are 130 % of the norm of "a" apart.'
    assert told({("model/a", "model/b"): 0.0}) == '"a" and "b" are the same in all numbers that were compared.'
    assert told({}) == ""


def test_of_many_models_the_nearest_and_the_farthest():
    said = told({(A, B): 0.2, (A, C): 0.3, (B, C): 0.1}, {(A, B): -0.1, (A, C): 0.5, (B, C): 0.2})
    far = 'the farthest "a" and "c", 30 %.'
    assert said.startswith(f'Of 3 pairs the nearest are "b" and "c", 10 % of the norm of "a" apart, {far}')
    assert "is -0.10 to 0.50:" in said


@pytest.mark.parametrize(("share", "words"), [(0.99999, "more than 99.9 %"), (1.0, "100 %"), (1e-6, "0.0001 %")])
def test_a_share_is_never_rounded_to_all_or_nothing(share, words):
    assert told({("model/a", "model/b"): share}) == f'"a" and "b" are {words} of the norm of "a" apart.'
