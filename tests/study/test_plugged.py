"""A study file may name an analysis of another package, and is as strict about it as about Bequest's own."""

import pytest

from bequest.study.plan import plan
from bequest.study.reading import BadStudy, dump, read_study

PRESENCE = """\
'''Is it there?'''
from pydantic import BaseModel, Field
name, version = "presence", 1
class Options(BaseModel):
    level: float = Field(default=1.0, ge=0)
    names: tuple[str, ...] = ("a",)
def measure(material, options): ...
def chart(rows): ...
def verdict(rows): ...
"""
STUDY = """\
name: digits
size: 16
source: {data: [fonts], recipe: {epochs: 2}}
targets:
  one: {data: digits, shots: 2}
  two: {data: digits, shots: 4}
arms: {replicas: 2, recipe: {epochs: 3}}
analyses:
  presence:
    level: 2
  mistakes:
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def presence(install):
    install("some_presence", PRESENCE, {"presence": "some_presence"})
    return install


def complaint(path, *changes):
    with pytest.raises(BadStudy) as raised:
        read_study(path, changes)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_its_options_are_read_and_written_as_those_of_bequest(study, presence, tmp_path):
    read = read_study(study, ["presence.names=[b]", "analyses.presence.targets=[two]"])
    assert list(read.asked()) == ["mistakes", "presence"]
    options = read.asked()["presence"]
    assert (options.level, options.names, options.targets) == (2.0, ("b",), ("two",))
    (tmp_path / "copy.yaml").write_text(dump(read))
    assert read_study(tmp_path / "copy.yaml") == read


def test_what_is_wrong_with_its_options_is_told_with_the_line_and_the_key(study, presence):
    assert "the change presence.level=-1: `analyses.presence.level` is -1" in complaint(study, "presence.level=-1")
    study.write_text(STUDY.replace("level: 2", "level: -2"))
    said = complaint(study)
    assert "study.yaml:10: `analyses.presence.level` is -2: input should be greater than or equal to 0" in said
    study.write_text(STUDY.replace("level: 2", "levle: 2"))
    said = complaint(study)
    assert (
        "study.yaml:10: unknown key `analyses.presence.levle`; did you mean `level`? Known: level, names, targets"
        in said
    )
    study.write_text(STUDY.replace("level: 2", "targets: [three]"))
    assert "analyses.presence.targets has three; the targets are one, two" in complaint(study)


def test_one_that_is_not_installed_is_an_unknown_key(study):
    said = complaint(study)
    assert "study.yaml:9: unknown key `analyses.presence`; " in said
    assert said.endswith("those of other packages must be installed here")


def test_the_installed_ones_are_among_the_known_keys(study, presence):
    study.write_text(STUDY.replace("presence:", "presense:"))
    assert "unknown key `analyses.presense`; did you mean `presence`?" in complaint(study)


def test_one_that_cannot_be_imported_is_told_in_one_message(study, install):
    install("some_presence", "import nothing_of_this_name", {"presence": "some_presence"})
    said = complaint(study)
    assert "study.yaml:9: `analyses.presence` is" in said
    assert "the analysis presence of some-presence 1.0 cannot be imported" in said
    assert "No module named 'nothing_of_this_name'; mend or uninstall it" in said


def test_a_package_that_takes_the_name_of_a_built_in_is_refused_where_it_is_named(study, presence):
    presence("some_mistakes", PRESENCE.replace("presence", "mistakes"), {"mistakes": "some_mistakes"})
    said = complaint(study)
    assert "study.yaml:11: `analyses.mistakes` is" in said
    assert (
        "some-mistakes 1.0 announces an analysis of this name, which is Bequest's own; uninstall or rename it" in said
    )
    study.write_text(STUDY.replace("  mistakes:\n", ""))
    assert list(read_study(study).asked()) == ["presence"]


def test_its_step_depends_on_its_name_version_and_options_and_needs_the_runs_and_p(study, presence):
    planned = plan(read_study(study))
    step = planned.measured["presence", "one"]
    assert step.function == "plugin"
    assert (
        step.identity["arguments"].items()
        >= {
            "analysis": "presence",
            "version": 1,
            "options": {"level": 2.0, "names": ["a"]},
            "target": "one",
        }.items()
    )
    runs = {"run/finetune/0", "run/finetune/1", "run/randinit/0", "run/randinit/1", "run/randinit/0b"}
    assert set(step.inputs) == runs | {"images", "pretrained"}
    assert step.cost > 0
    keys = {step.key, planned.measured["presence", "two"].key}
    keys.add(plan(read_study(study, ["presence.level=3"])).measured["presence", "one"].key)
    presence("some_presence", PRESENCE.replace('"presence", 1', '"presence", 2'), {"presence": "some_presence"}, "1.1")
    keys.add(plan(read_study(study)).measured["presence", "one"].key)
    assert len(keys) == 4
    again = plan(read_study(study, ["presence.targets=[one]"])).measured
    assert again["presence", "one"].key in keys
    assert ("presence", "two") not in again
