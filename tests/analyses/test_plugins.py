"""An analysis of another package is found by its entry point; one that is not sound is told in one message."""

import sys

import altair
import pytest
from pydantic import BaseModel

import bequest
from bequest.analyses.plugins import Plugin, about, announced, built_in, maker, plugin
from bequest.analyses.verdict import Verdict

GOOD = """\
'''Is it there?

Definition: one.'''
import bequest
from pydantic import BaseModel
name, version = "presence", 2
class Options(BaseModel):
    level: int = 1
def measure(material, options):
    return bequest.Result(name, bequest.table(name, [{"metric": "presence", "value": options.level}]))
def chart(rows):
    import altair
    return altair.Chart(rows).mark_point()
def verdict(rows):
    return ()
"""


def test_what_an_installed_package_announces_is_found_and_has_its_parts(install):
    install("some_presence", GOOD, {"presence": "some_presence"})
    assert set(announced()) == {"presence"}
    assert "some_presence" not in sys.modules  # nothing is imported before it is asked for
    found = plugin("presence")
    assert (found.name, found.version, found.package) == ("presence", 2, "some-presence 1.0")
    assert about("presence") == "Is it there?\n\nDefinition: one."
    result = found.measure(None, found.options(level=7))
    assert result.value("presence") == 7
    assert result.verdict == ()
    assert isinstance(result.chart(), altair.TopLevelMixin)


def test_the_object_may_be_another_thing_than_a_module(install):
    install("some_presence", f"import sys\n{GOOD}\nhere = sys.modules[__name__]", {"presence": "some_presence:here"})
    assert plugin("presence").version == 2


def test_names_of_bequest_are_those_of_its_files():
    assert {"barrier", "spectrum", "groups", "changes"} <= built_in()
    assert maker("barrier").__name__ == "bequest.analyses.barrier"
    assert about("barrier").startswith("Is there a barrier")
    assert about("nobody_has_this") == ""


def test_one_that_is_not_installed_is_missed():
    with pytest.raises(LookupError, match="no installed package announces an analysis presence; install the one"):
        plugin("presence")


BROKEN = [
    (
        "import no_such_name",
        r"cannot be imported \(some_presence\): ModuleNotFoundError: .*; mend or uninstall",
    ),
    ("1 / 0", "cannot be imported .* ZeroDivisionError: division by zero"),
    ("if:", "cannot be imported .* SyntaxError"),
    (
        GOOD.replace("def verdict", "def judge"),
        "has no verdict; an analysis has name, version, Options, measure, chart",
    ),
    (GOOD.replace('"presence", 2', '"absence", 2'), "calls itself 'absence'; name and entry point must be alike"),
    (GOOD.replace('"presence", 2', '"presence", "2"'), "has the version '2'; it must be a whole number from 1"),
    (GOOD.replace("(BaseModel)", ""), "has Options that are no pydantic model"),
    (GOOD.replace("level:", "targets:"), "has an option `targets`; Bequest gives every analysis that one"),
    (GOOD + "chart = 3", "has a chart that cannot be called"),
]


@pytest.mark.parametrize(("source", "said"), BROKEN)
def test_one_that_is_broken_is_named_with_its_package(install, source, said):
    install("some_presence", source, {"presence": "some_presence"})
    with pytest.raises(ValueError, match=f"^the analysis presence of some-presence 1.0 {said}") as raised:
        plugin("presence")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("taken", ["barrier", "groups", "Presence", "a-b"])
def test_a_name_of_bequest_and_one_that_is_no_word_are_refused(install, taken):
    install("some_presence", GOOD, {taken: "some_presence"})
    with pytest.raises(ValueError, match=r"cannot have this name; take small letters, and none that Bequest uses"):
        plugin(taken)
    assert maker("barrier").__name__ == "bequest.analyses.barrier"


def test_two_packages_with_one_name_are_both_named(install):
    install("some_presence", GOOD, {"presence": "some_presence"})
    install("other_presence", GOOD, {"presence": "other_presence"})
    with pytest.raises(ValueError, match=r"of other-presence 1\.0 and of some-presence 1\.0 is announced twice"):
        plugin("presence")


def plugged(measure=None, chart=None, verdict=None):
    return Plugin(
        "presence", 1, "some-presence 1.0", "", BaseModel, *(lambda *_, r=r: r for r in (measure, chart, verdict))
    )


ROWS = bequest.table("presence", [{"metric": "presence", "value": 1.0}])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "measure of the analysis presence .some-presence 1.0. gave nothing, not a bequest.Result"),
        ({"value": 1}, "gave a dict, not a bequest.Result"),
        (bequest.Result("presence", {}), "gave a result without rows"),
        (bequest.Result("presence", ROWS.head(0)), "gave a result without rows"),
        (
            bequest.Result("presence", ROWS.drop("low")),
            "in which low is missing, not Float64; make them with bequest.table",
        ),
        (bequest.Result("presence", ROWS.with_columns(value=1)), "in which value is Int32, not Float64"),
        (bequest.Result("presence", bequest.table("barrier", [{"metric": "x"}])), "named barrier, presence"),
    ],
)
def test_rubbish_in_place_of_a_result_is_refused(given, said):
    with pytest.raises(TypeError, match=said):
        plugged(measure=given).measure(None, None)


def test_rubbish_in_place_of_a_chart_or_a_verdict_is_refused():
    with pytest.raises(TypeError, match=r"chart of the analysis presence .* gave nothing, not an altair chart"):
        plugged().chart(ROWS)
    with pytest.raises(TypeError, match=r"verdict of .* gave nothing, not a tuple of bequest\.Verdict"):
        plugged().verdict(ROWS)
    with pytest.raises(TypeError, match=r"gave a list, not a tuple of bequest\.Verdict"):
        plugged(verdict=["holds"]).verdict(ROWS)
    with pytest.raises(TypeError, match="says 'holds' of 'C99'; claims are C1, "):
        plugged(verdict=[Verdict("C99", "holds", "", "")]).verdict(ROWS)
    good = Verdict("C4", "does not hold", "It is not.", "A rule.")
    assert plugged(verdict=[good]).verdict(ROWS) == (good,)
