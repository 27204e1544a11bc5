import pytest

from bequest.analyses.verdict import CLAIMS
from bequest.report.verdicts import slots
from bequest.report.wording import interval, parted, signed, tally, typeset


def test_typeset_escapes_and_sets_code_and_minus():
    assert typeset("`a<b` is -0.5 (-1 to 2), 3-4 and x-1 <i>") == (
        "<code>a&lt;b</code> is −0.5 (−1 to 2), 3-4 and x-1 &lt;i&gt;"  # noqa: RUF001 # a minus is what is wanted
    )
    assert typeset("</script>") == "&lt;/script&gt;"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(-13.84, -7.8, "\u221213.8 to \u22127.8"), (0.0466, 0.258, "0.047 to 0.258"), (1.0, 2.345, "1.00 to 2.35")],
)
def test_interval(low, high, text):
    assert interval(low, high) == text


def test_no_interval_is_a_dash():
    assert interval(None, None) == "\u2013"


def test_signed():
    assert (signed(1.25, 1), signed(-3.0)) == ("+1.2", "\u22123.0")


def test_tally_counts_every_claim():
    text = tally(slots({}))
    assert text.startswith("Of the 11 claims, ") and text.endswith(".")
    assert sum(int(word) for word in text.replace(",", "").split()[3:] if word.isdigit()) == len(CLAIMS)


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("Better: error -1.5 (-2 to -1), 3 pairs.", ("Better:", " error -1.5 (-2 to -1), 3 pairs.", "")),
        ("No barrier: 0.1 on test. Without the refit: 3.", ("No barrier:", " 0.1 on test.", "Without the refit: 3.")),
        ("One replica has no interval.", ("One replica has no interval.", "", "")),
        ("x is bad (8.3 % right. Or so): a. 5 is b.", ("x is bad (8.3 % right.", "", "Or so): a. 5 is b.")),
    ],
)
def test_a_sentence_is_parted_after_the_answer_and_after_the_first_sentence(sentence, parts):
    assert parted(sentence) == parts
    assert " ".join(part.strip() for part in parts if part) == sentence
