"""A study file is read strictly; each complaint names the file, the line, the key and the way out."""

import pytest

from bequest.study.reading import BadStudy, dump, read_study

GOOD = """\
name: small
source:
  data: ["emoji:color"]
targets:
  line:
    data: emoji:line
    shots: 5
arms:
  recipe:
    epochs: 3
analyses:
  barrier:
    points: 21
  mistakes:
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return path

    return write


def complaint(path, *changes):
    with pytest.raises(BadStudy) as raised:
        read_study(path, changes)
    return str(raised.value)


def test_a_good_study_is_read_with_defaults(write):
    study = read_study(write(GOOD))
    assert study.targets["line"].shots == 5
    assert study.arms.replicas == 3
    assert list(study.analyses.asked()) == ["mistakes", "barrier"]
    assert study.analyses.asked()["barrier"].points == 21


def test_all_analyses_are_made_if_none_is_named(write):
    study = read_study(write(GOOD.split("analyses:")[0]))
    assert list(study.analyses.asked()) == ["learning_curves", "mistakes", "similarity", "distance", "barrier"]


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_known_one(write):
    said = complaint(write(GOOD.replace("shots: 5", "shot: 5")))
    assert "study.yaml:7: unknown key `targets.line.shot`" in said
    assert "did you mean `shots`?" in said


def test_an_unknown_analysis_is_named_with_the_nearest_known_one(write):
    said = complaint(write(GOOD.replace("mistakes:", "mistake:")))
    assert "study.yaml:14: unknown key `analyses.mistake`" in said
    assert "did you mean `mistakes`?" in said


def test_a_value_out_of_range_is_named_with_the_range(write):
    said = complaint(write(GOOD.replace("points: 21", "points: 2")))
    assert "study.yaml:13: `analyses.barrier.points` is 2" in said
    assert "greater than or equal to 3" in said


def test_a_missing_key_is_named(write):
    assert "`targets` is missing" in complaint(write("name: a\nsource: {data: [x]}\n"))


def test_all_further_complaints_are_counted(write):
    said = complaint(write(GOOD.replace("points: 21", "points: 2").replace("epochs: 3", "epochs: none")))
    assert "(1 further complaint)" in said


def test_a_name_cannot_leave_the_folder(write):
    assert "`name`" in complaint(write(GOOD.replace("name: small", "name: ../../etc")))
    assert "`name`" in complaint(write(GOOD.replace("name: small", "name: ..")))


def test_yaml_errors_name_the_line(write):
    assert "study.yaml:3: not readable as YAML" in complaint(write("name: a\nsource: [1, 2\nmodel: x\n"))


def test_python_tags_are_refused(write):
    assert "not readable as YAML" in complaint(write("name: !!python/object/apply:os.getcwd []\n"))


def test_a_missing_file_is_named(tmp_path):
    assert "no such study file" in complaint(tmp_path / "none.yaml")


def test_both_arms_get_the_same_number_of_learning_rates(write):
    unequal = GOOD.replace("  recipe:\n", "  learning_rates: {finetune: [0.1], randinit: [0.1, 0.2]}\n  recipe:\n")
    assert "same number" in complaint(write(unequal))


def test_source_is_data_or_weights_but_not_both(write):
    assert "not both" in complaint(write(GOOD.replace('data: ["emoji:color"]', "data: [a]\n  weights: b")))


def test_changes_override_and_barrier_points_is_short_for_the_whole_path(write):
    study = read_study(write(GOOD), ["barrier.points=5", "arms.recipe.epochs=7", "targets.line.shots=2"])
    assert (study.analyses.barrier.points, study.arms.recipe.epochs, study.targets["line"].shots) == (5, 7, 2)


def test_a_wrong_change_is_named(write):
    assert "unknown key `arms.replica`" in complaint(write(GOOD), "arms.replica=2")
    assert "key.path=value" in complaint(write(GOOD), "arms.replicas")


def test_a_study_comes_back_from_its_own_dump(write):
    study = read_study(write(GOOD))
    assert read_study(write(dump(study))) == study
