"""The plan of a study: which steps there are, in which order, and what makes which of them run again."""

import pytest

from bequest.study.plan import in_order, plan
from bequest.study.spec import Study

ASKED = {
    "name": "digits",
    "size": 16,
    "source": {"data": ["fonts"], "recipe": {"epochs": 2}},
    "targets": {"one": {"data": "digits", "shots": 2}, "two": {"data": "digits", "shots": 4}},
    "arms": {"learning_rates": {"finetune": [0.1, 0.2], "randinit": [0.1, 0.3]}, "recipe": {"epochs": 3}},
}


def made(**changes):
    return plan(Study.model_validate(ASKED | changes))


def keys(planned):
    return {step.label: step.key for step in planned.steps()}


def changed(**changes):
    before, after = keys(made()), keys(made(**changes))
    return {label for label in before if before[label] != after.get(label)}


@pytest.fixture(scope="module")
def planned():
    return made()


def test_each_step_stands_once_and_after_its_inputs(planned):
    steps = planned.steps()
    places = {step.key: place for place, step in enumerate(steps)}
    assert len(places) == len(steps)
    for step in steps:
        assert all(places[needed.key] < places[step.key] for needed in step.inputs.values())


def test_the_domains_are_drawn_once_however_many_targets_use_them(planned):
    assert [label for label in keys(planned) if label.startswith("draw")] == ["draw digits", "draw fonts"]


def test_every_target_has_all_runs_and_all_analyses(planned):
    names = {"finetune/0", "finetune/1", "finetune/2", "randinit/0", "randinit/1", "randinit/2", "randinit/0b"}
    assert {target: set(runs) for target, runs in planned.runs.items()} == {"one": names, "two": names}
    asked = ("learning_curves", "mistakes", "similarity", "distance", "barrier")
    assert set(planned.measured) == {(analysis, target) for analysis in asked for target in ("one", "two")}


def test_replica_i_of_both_arms_shares_its_seeds_and_the_sweep_has_seeds_of_its_own(planned):
    runs = planned.runs["one"]
    seeds = {name: (s.arguments["init_seed"], s.arguments["order_seed"]) for name, s in runs.items()}
    assert seeds["finetune/1"] == seeds["randinit/1"]
    assert len(set(seeds.values())) == 4  # 0, 1, 2 and 0b
    for (target, _), trials in planned.sweeps.items():
        for trial in trials.values():
            used = {run.arguments["init_seed"] for run in planned.runs[target].values()}
            assert trial.arguments["init_seed"] not in used


def test_all_runs_of_a_target_see_the_same_shots(planned):
    for runs in planned.runs.values():
        assert len({(run.arguments["shots"], run.arguments["shots_seed"]) for run in runs.values()}) == 1


def test_without_a_sweep_the_recipes_rate_is_used_and_part_of_the_identity():
    arms = {"recipe": {"epochs": 3, "learning_rate": 0.07}}
    planned = made(arms=arms)
    assert not planned.choices
    assert planned.runs["one"]["finetune/0"].arguments["recipe"]["learning_rate"] == 0.07


def test_beside_a_sweep_the_recipes_rate_is_refused_as_it_would_change_nothing():
    recipe = ASKED["arms"]["recipe"] | {"learning_rate": 0.9}
    with pytest.raises(ValueError, match="has no influence beside learning_rates"):
        made(arms=ASKED["arms"] | {"recipe": recipe})


def test_more_points_on_the_line_change_the_barrier_alone():
    analyses = {name: {} for name in ("learning_curves", "mistakes", "similarity", "distance")}
    before = keys(made(analyses=analyses | {"barrier": {"points": 11}}))
    after = keys(made(analyses=analyses | {"barrier": {"points": 21}}))
    different = {label for label in before if before[label] != after[label]}
    assert different == {"one: measure barrier", "two: measure barrier"}


def test_other_shots_change_one_target_alone():
    targets = ASKED["targets"] | {"two": {"data": "digits", "shots": 5}}
    assert changed(targets=targets)
    assert all(label.startswith("two: ") for label in changed(targets=targets))


def test_another_pretraining_changes_what_starts_from_it_and_nothing_of_the_random_inits():
    different = changed(source={"data": ["fonts"], "recipe": {"epochs": 3}})
    assert "pre-train on fonts" in different
    assert "one: train finetune/0" in different
    assert not any("randinit" in label for label in different)


def test_the_title_and_the_name_change_nothing_that_is_trained_or_measured():
    assert changed(title="Another title", name="other") == set()


def test_more_replicas_add_runs_and_keep_the_others():
    arms = ASKED["arms"] | {"replicas": 4}
    before, after = keys(made()), keys(made(arms=arms))
    trained = {label for label in before if "train" in label or "try" in label}
    assert all(before[label] == after[label] for label in trained)
    assert "one: train finetune/3" in after


def test_all_targets_draw_their_shots_alike(planned):
    assert len({runs["finetune/0"].arguments["shots_seed"] for runs in planned.runs.values()}) == 1


def test_another_network_under_the_same_name_is_another_computation(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = "from torch import nn\ndef net(classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear({}, classes))\n"
    found = []
    for width in ("16 * 16 * 3", "768"):
        (tmp_path / "mynets.py").write_text(code.format(width))
        found.append(keys(made(model="mynets:net"))["one: train randinit/0"])
    assert found[0] != found[1]


def test_too_many_shots_name_the_class_and_how_many_there_are():
    with pytest.raises(ValueError, match=r"targets\.one\.shots is 5000, but class '0' of digits has \d+"):
        made(targets={"one": {"data": "digits", "shots": 5000}})


def test_a_folder_of_images_has_the_same_keys_wherever_it_lies(tmp_path):
    import numpy as np
    from PIL import Image

    found = []
    for place in ("here", "there"):
        for label in ("cat", "dog"):
            (tmp_path / place / "pets" / label).mkdir(parents=True)
            for number in range(6):
                pixels = np.full((16, 16, 3), 20 * number + (label == "dog"), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / place / "pets" / label / f"{number}.png")
        target = {"data": f"folder:{tmp_path / place / 'pets'}"}
        found.append(set(keys(made(targets={"pets": target})).values()))
    assert found[0] == found[1]


def test_a_domain_too_small_for_three_splits_is_named_before_anything_runs(tmp_path):
    import numpy as np
    from PIL import Image

    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(2):
            Image.fromarray(np.full((16, 16, 3), 99 * number, dtype=np.uint8)).save(tmp_path / label / f"{number}.png")
    with pytest.raises(ValueError, match=r"folder:.* has \d images in \w+, and a study needs at least"):
        made(targets={"pets": {"data": f"folder:{tmp_path}"}})


def test_in_order_follows_the_inputs(planned):
    [*before, last] = in_order([planned.runs["one"]["finetune/0"]])
    assert last.label == "one: train finetune/0"
    assert "one: choose the learning rate of finetune" in [step.label for step in before]
