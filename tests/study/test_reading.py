"""A study file is read strictly; each complaint names the file, the line, the key and the way out."""

import subprocess
import sys
import time

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
    assert list(study.asked()) == ["mistakes", "barrier"]
    assert study.asked()["barrier"].points == 21


def test_all_analyses_are_made_if_none_is_named(write):
    study = read_study(write(GOOD.split("analyses:")[0]))
    assert list(study.asked()) == ["learning_curves", "mistakes", "similarity", "distance", "barrier"]


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


def test_a_misspelt_key_is_named_before_the_one_that_is_missing_because_of_it(write):
    said = complaint(write(GOOD.replace("targets:", "tagets:")))
    assert "study.yaml:4: unknown key `tagets`; did you mean `targets`?" in said
    assert "(1 further complaint)" in said


def test_all_further_complaints_are_counted(write):
    said = complaint(write(GOOD.replace("points: 21", "points: 2").replace("epochs: 3", "epochs: none")))
    assert "(1 further complaint)" in said


def test_a_name_cannot_leave_the_folder(write):
    assert "`name`" in complaint(write(GOOD.replace("name: small", "name: ../../etc")))
    assert "`name`" in complaint(write(GOOD.replace("name: small", "name: ..")))


def test_yaml_errors_name_the_line(write):
    assert "study.yaml:3: not readable as YAML" in complaint(write("name: a\nsource: [1, 2\nmodel: x\n"))


def test_python_tags_are_refused(write):
    assert "study.yaml:1: tags are not used" in complaint(write("name: !!python/object/apply:os.getcwd []\n"))


def test_a_missing_file_is_named(tmp_path):
    assert "no such study file" in complaint(tmp_path / "none.yaml")


def test_a_folder_is_not_a_study_file(tmp_path):
    assert complaint(tmp_path) == f"{tmp_path}: a folder, not a study file; give the file, as in {tmp_path}/study.yaml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "study.yaml: the file is empty; a study file has lines of `key: value`, starting with `name:`"),
        ("# only a note\n", "study.yaml: the file is empty"),
        ("- name: a\n", "study.yaml: the file is a list"),
        ("name\n", "study.yaml: the file is a single value"),
        ("name: a\ntitle: " + "[" * 30_000, "study.yaml:2: nested too deeply"),
        ("- " * 10_000 + "a\n", "study.yaml:1: nested too deeply"),
        ("title: " + "x" * 1_000_000, "study.yaml: 1,000,007 bytes are too many for a study file"),
        (GOOD + "title: " + "x" * 90_000, "study.yaml:15: `title` is 'xxxx"),
        ("name: a\ntitle: a\0b\n", "study.yaml:2: not readable as YAML: a character (number 0) that no text has"),
        (b"name: a\ntitle: caf\xe9\n", "study.yaml:2: not text in UTF-8 (byte 0xe9)"),
        ("name: a\n".encode("utf-16"), "study.yaml:1: not text in UTF-8"),
        (
            "name: a\n---\nname: b\n",
            "study.yaml:2: not readable as YAML: expected a single document in the stream, but",
        ),
        ('name: a\n"x\\ny": 3\n', "unknown key `x y`"),
        ("1: 2\n" + GOOD, "study.yaml:1: `1` is 1"),
        (GOOD + 'title: "\\ud800"\n', "study.yaml:15: half of a character"),
        ('"\\udfff": 1\n' + GOOD, "study.yaml:1: half of a character"),
        (GOOD + "mean: [.nan, 0, 0]\n", "study.yaml:15: `mean.0` is nan: input should be a finite number"),
        (GOOD + "std: [0.5, 0, 0.5]\n", "study.yaml:15: `std.1` is 0: input should be greater than 0"),
        (GOOD.replace('data: ["emoji:color"]', 'weights: "a\\0b"'), "no file of weights can be called 'a\\x00b'"),
    ],
)
def test_what_is_no_study_is_told_in_one_line_and_at_once(tmp_path, text, said):
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    begun = time.perf_counter()
    found = complaint(path)
    assert said in found
    assert len(found.splitlines()) == 1
    assert len(found) < 500 + len(str(path))
    assert time.perf_counter() - begun < 20


def test_a_bomb_of_aliases_is_refused_before_it_is_built(write):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    text = "\n".join(lines)
    assert len(text) < 1000
    assert "study.yaml:1: anchors are not used in study files" in complaint(write(text))
    assert "study.yaml:1: aliases are not used in study files" in complaint(write("name: *a\n"))
    assert complaint(write(GOOD), "title=*a").startswith("the change title=*a: aliases are not used")


def test_a_key_given_twice_is_refused_with_both_lines(write):
    twice = GOOD.replace("    shots: 5", "    shots: 5\n    shots: 6")
    assert complaint(write(twice)).endswith(
        "study.yaml:8: `shots` is there twice, first in line 7; leave one of them out"
    )
    assert "`points` is there twice" in complaint(write(GOOD), "barrier={points: 5, points: 7}")


@pytest.mark.parametrize("title", ["2024-13-45", "2024-01-02", "=", "<<", "1_000 birds"])
def test_dates_and_other_magic_words_stay_text(write, title):
    assert read_study(write(f"title: {title}\n" + GOOD)).title == title
    study = read_study(write(GOOD), [f"title={title}"])
    assert study.title == title
    assert read_study(write(dump(study))) == study


def test_a_number_that_is_none_is_named_with_its_line(write):
    assert "study.yaml:2: '0x_' is not a number" in complaint(write("name: a\nseed: 0x_\n"))
    assert "study.yaml:2: a number of 5,000 characters is too long" in complaint(write("name: a\nseed: " + "9" * 5000))


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
    assert "bytes that are no text in UTF-8" in complaint(write(GOOD), "arms.\udce9=2")


@pytest.mark.parametrize("analyses", ["", "analyses:\n", "analyses: {}\n"])
def test_a_change_to_one_analysis_keeps_the_others_if_none_is_named(write, analyses):
    path = write(GOOD.split("analyses:")[0] + analyses)
    for change in ("barrier.points=5", "analyses.barrier.points=5"):
        asked = read_study(path, [change, "similarity.split=train"]).asked()
        assert list(asked) == ["learning_curves", "mistakes", "similarity", "distance", "barrier"]
        assert (asked["barrier"].points, asked["similarity"].split) == (5, "train")
    assert list(read_study(path, ["analyses={barrier: }"]).asked()) == ["barrier"]


def test_a_value_from_a_change_is_not_blamed_on_the_file(write):
    path = write(GOOD.replace("arms:\n", "arms:\n  replicas: 2\n"))
    assert complaint(path, "arms.replicas=0").startswith("the change arms.replicas=0: `arms.replicas` is 0: ")
    assert complaint(path, "barrier.points=2").startswith("the change barrier.points=2: `analyses.barrier.points` is 2")
    assert complaint(path, "arms.replicas=0", "arms.replicas=-1").startswith("the change arms.replicas=-1: ")
    assert complaint(path, "targets.line={shots: 2}").startswith("the change targets.line={shots: 2}: ")
    assert complaint(path, "targets.lime.shots=2").startswith(
        "the change targets.lime.shots=2: `targets.lime.data` is m"
    )
    assert complaint(path, "source.weights=a").startswith(f"{path}:2 with the change source.weights=a: `source` is ")
    assert complaint(write(GOOD.replace("points: 21", "points: 2")), "arms.replicas=2").startswith(f"{path}:13: ")
    assert complaint(path, "arms..replicas=2").startswith("`arms..replicas=2`: a change is written")
    assert complaint(path, "title=a: b: c").startswith("the change title=a: b: c: not readable as YAML: mapping values")


def test_an_unknown_augmentation_is_named_with_its_line(write):
    said = complaint(write(GOOD.replace("epochs: 3", "augmentation: crp")))
    assert (
        "study.yaml:10: `arms.recipe.augmentation` is 'crp': there is no augmentation 'crp'; did you mean 'crop'?"
        in said
    )


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ("{finetune: [0.1]}", "randinit is not named; give all arms equally many learning rates"),
        ("{finetune: [0.1, 0.1], randinit: [0.1, 0.2]}", "finetune names 0.1 twice"),
        ("{finetune: [0.1, 0.10000001], randinit: [0.1, 0.2]}", "finetune names 0.1 twice"),
        ("{finetune: [0.1], randinit: [.nan]}", "input should be a finite number"),
        ("{finetune: [0.1], randinit: [0]}", "above 0 and at most 100"),
    ],
)
def test_learning_rates_that_make_no_fair_sweep(write, rates, said):
    assert said in complaint(write(GOOD), f"arms.learning_rates={rates}")


def test_the_barrier_needs_a_split_and_is_measured_every_twentieth_of_the_line(write):
    assert "`analyses.barrier.splits` is []" in complaint(write(GOOD), "barrier.splits=[]")
    assert "the list names test twice" in complaint(write(GOOD), "barrier.splits=[test, test]")
    assert read_study(write(GOOD), ["analyses={barrier: }"]).asked()["barrier"].points == 21


def test_places_are_relative_to_the_study_file_and_absolute_afterwards(tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "studies" / "study.yaml"
    path.write_text(GOOD.replace('["emoji:color"]', '["folder:birds"]').replace("emoji:line", "folder:../cats"))
    study = read_study(path, ["targets.dogs.data=folder:/dogs", "targets.digits.data=digits"])
    assert study.source.data == (f"folder:{tmp_path}/studies/birds",)
    places = [target.data for target in study.targets.values()]
    assert places == [f"folder:{tmp_path}/cats", "folder:/dogs", "digits"]
    (tmp_path / "copy.yaml").write_text(dump(study))
    assert read_study(tmp_path / "copy.yaml") == study
    weights = read_study(path, ["source={weights: w.pt}"]).source.weights
    assert weights == tmp_path / "studies" / "w.pt"


def test_a_study_is_read_without_torch(write):
    code = f"""
import sys
from pathlib import Path
from bequest.study.reading import read_study
read_study(Path({str(write(GOOD.replace("epochs: 3", "augmentation: crop+flip")))!r}))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_study_comes_back_from_its_own_dump(write):
    study = read_study(write(GOOD))
    assert read_study(write(dump(study))) == study


def test_a_null_that_is_no_default_comes_back(write):
    study = read_study(write(GOOD), ["analyses.criticality={images: null}"])
    again = read_study(write(dump(study)))
    assert again == study
    assert again.asked()["criticality"].images is None


def test_keys_that_do_not_go_together_are_told_with_the_line_of_the_one_that_is_named(write):
    text = GOOD + "  distance:\n    targets: [nowhere]\n"
    path = write(text)
    line = text.splitlines().index("    targets: [nowhere]") + 1
    said = complaint(path)
    assert f"study.yaml:{line}: analyses.distance.targets has nowhere; the targets are" in said
    assert "the change distance.targets=[nowhere]: analyses.distance.targets has nowhere" in complaint(
        write(GOOD), "distance.targets=[nowhere]"
    )
