import json
import math

import pytest

from bequest.report.embedding import policy, script_json


@pytest.mark.parametrize(
    "value",
    ["</script><script>alert(1)</script>", "<!--", "a & b", "line\u2028end\u2029", "é 漢 😀", {"<k>": [1, 2.5, None]}],
)
def test_script_json_is_inert_and_gives_the_value_back(value):
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert text.isascii()
    assert json.loads(text) == value


def test_what_is_not_finite_is_null():
    assert json.loads(script_json({"a": [math.nan, math.inf, -math.inf, 1.0], "b": (2, 3)})) == {
        "a": [None, None, None, 1.0],
        "b": [2, 3],
    }


def test_policy_lists_the_hashes_and_allows_nothing_else():
    # SHA-256 of "alert('Hello, world.');" as printed in the CSP specification
    text = policy(["alert('Hello, world.');"], ["p {}"])
    assert "script-src 'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='" in text
    assert text.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in text and "http" not in text
