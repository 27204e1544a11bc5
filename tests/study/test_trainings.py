"""Which trainings a study takes: control arms, shuffled images, earlier checkpoints; what they share and what not."""

import pytest

from bequest.study.plan import plan
from bequest.study.spec import Study

ASKED = {
    "name": "digits",
    "size": 16,
    "source": {"data": ["fonts"], "recipe": {"epochs": 9}},
    "targets": {"one": {"data": "digits", "shots": 2}},
    "arms": {"replicas": 2, "recipe": {"epochs": 3, "augmentation": "crop"}},
}
RATES = {"finetune": [0.1, 0.2], "randinit": [0.1, 0.3], "meanvar": [0.1, 0.2], "probe": [0.1, 0.2]}


def made(arms=None, **analyses):
    changed = {"arms": ASKED["arms"] | (arms or {}), "analyses": {"learning_curves": {}} | analyses}
    return plan(Study.model_validate(ASKED | changed))


def cells(planned):
    return {cell.name: cell for cell in planned.further["one"]}


def test_control_arms_have_replicas_seeds_and_sweeps_like_the_others():
    planned = made({"controls": ["meanvar", "probe"], "learning_rates": RATES})
    assert list(planned.runs["one"]) == [
        *("finetune/0", "finetune/1", "randinit/0", "randinit/1", "randinit/0b"),
        *("meanvar/0", "meanvar/1", "probe/0", "probe/1"),
    ]
    for number in (0, 1):
        steps = [planned.runs["one"][f"{arm}/{number}"] for arm in RATES]
        assert len({(step.arguments["init_seed"], step.arguments["order_seed"]) for step in steps}) == 1
    assert set(planned.choices) == {("one", arm) for arm in RATES}
    needs_p = {name for name, step in planned.runs["one"].items() if "pretrained" in step.inputs}
    assert needs_p == {name for name in planned.runs["one"] if not name.startswith("randinit")}


def test_a_control_arm_without_learning_rates_or_rates_without_an_arm_are_refused():
    both = {arm: RATES[arm] for arm in ("finetune", "randinit")}
    with pytest.raises(ValueError, match="meanvar is not named"):
        made({"controls": ["meanvar"], "learning_rates": both})
    with pytest.raises(ValueError, match="probe has learning rates but is not trained"):
        made({"controls": ["meanvar"], "learning_rates": RATES})


def test_a_probe_costs_less_than_an_arm_that_learns_as_a_whole():
    planned = made({"controls": ["probe", "meanvar"]})
    runs = planned.runs["one"]
    assert runs["probe/0"].cost < runs["meanvar/0"].cost == runs["finetune/0"].cost


def test_every_block_size_has_both_arms_and_the_control_arms_where_asked():
    planned = made(
        {"controls": ["meanvar", "probe"]}, block_shuffle={"sizes": [4, 1, "pixel-channel"], "controls": [1]}
    )
    arms = {}
    for cell in planned.further["one"]:
        arms.setdefault(cell.place, []).append(cell.run)
    both = ["finetune/0", "finetune/1", "randinit/0", "randinit/1"]
    assert arms == {
        16: [*both, "meanvar/0", "meanvar/1"],
        4: both,
        1: [*both, "meanvar/0", "meanvar/1"],
        "pixel-channel": both,
    }


def test_without_sizes_all_that_divide_the_image_are_shuffled_and_the_colours_too():
    planned = made(block_shuffle={})
    assert {cell.place for cell in planned.further["one"]} == {1, 2, 4, 8, "pixel-channel", 16}


def test_the_shuffle_of_a_replica_is_the_same_for_all_arms_and_another_for_each_replica():
    found = cells(made(block_shuffle={"sizes": [4], "modes": ["fixed", "per_image"]}))
    for mode in ("fixed", "per_image"):
        words = mode.replace("_", " ")
        shuffles = {run: found[f"{run} on blocks of 4, {words}"].step.arguments["shuffle"] for run in ASKED_RUNS}
        assert shuffles["finetune/0"] == shuffles["randinit/0"] == {"block_size": 4, "mode": mode, "seed": 0}
        assert shuffles["finetune/1"]["seed"] == 1


ASKED_RUNS = ("finetune/0", "finetune/1", "randinit/0", "randinit/1")


def test_runs_without_shuffle_are_those_of_the_arms_where_the_recipe_is():
    def shared(**options):
        planned = made({"checkpoint_epochs": "doubling"}, block_shuffle={"sizes": [4], **options})
        own = {step.key for step in planned.runs["one"].values()}
        return [cell.run for cell in planned.further["one"] if cell.step.key in own]

    assert shared() == []  # the paper's way: without augmentation
    assert shared(recipe="arms") == list(ASKED_RUNS)


def test_both_modes_share_the_runs_without_shuffle():
    planned = made(block_shuffle={"sizes": [4], "modes": ["fixed", "per_image"]})
    whole = [cell for cell in planned.further["one"] if cell.place == 16]
    assert len(whole) == 8
    assert len({cell.step.key for cell in whole}) == 4


def test_a_sweep_at_each_block_size_has_the_arms_candidates_on_shuffled_images():
    rates = {arm: RATES[arm] for arm in ("finetune", "randinit")}
    planned = made({"learning_rates": rates}, block_shuffle={"sizes": [4], "sweep": True})
    what = ("one", "randinit on blocks of 4, fixed")
    assert set(planned.sweeps[what]) == {"rate 0.1", "rate 0.3"}
    for trial in planned.sweeps[what].values():
        assert trial.arguments["shuffle"]["block_size"] == 4
    run = cells(planned)["randinit/1 on blocks of 4, fixed"].step
    assert run.inputs["choice"].key == planned.choices[what].key
    assert "choice" in cells(planned)["randinit/1 without shuffle, fixed"].step.inputs


def test_without_it_the_rate_of_the_arm_is_taken():
    rates = {arm: RATES[arm] for arm in ("finetune", "randinit")}
    planned = made({"learning_rates": rates}, block_shuffle={"sizes": [4]})
    run = cells(planned)["randinit/1 on blocks of 4, fixed"].step
    assert run.inputs["choice"].key == planned.choices["one", "randinit"].key


def test_blocks_that_do_not_fit_are_refused():
    for block in (3, 16, 0):
        with pytest.raises(ValueError, match="in an image of 16 pixels blocks of 1, 2, 4, 8 fit"):
            made(block_shuffle={"sizes": [block]})


def test_fine_tunes_from_each_checkpoint_and_the_last_are_the_arms_own():
    planned = made(checkpoints={})
    assert sorted({cell.place for cell in planned.further["one"]}) == [0, 1, 2, 4, 8, 9]
    starts = {cell.place: cell.step.arguments["checkpoint"] for cell in planned.further["one"]}
    assert starts == {0: "step-0", 1: "epoch-1", 2: "epoch-2", 4: "epoch-4", 8: "epoch-8", 9: "last"}
    own = {step.key for step in planned.runs["one"].values()}
    assert {cell.place for cell in planned.further["one"] if cell.step.key in own} == {9}


def test_a_checkpoint_that_is_not_kept_or_not_there_is_refused():
    with pytest.raises(ValueError, match="keeps its weights at 0, 1, 2, 4, 8 and 9"):
        made(checkpoints={"epochs": [3]})
    with pytest.raises(ValueError, match="the pre-training ends with epoch 9"):
        made(checkpoints={"epochs": [9]})


def test_paths_along_checkpoints_need_checkpoints():
    with pytest.raises(ValueError, match="checkpoint_epochs: doubling"):
        made(criticality={"paths": ["direct", "checkpoints"]})
    made({"checkpoint_epochs": [1, 2]}, criticality={"paths": ["direct", "checkpoints"]})
    with pytest.raises(ValueError, match="has 4, but an arm is trained for 3"):
        made({"checkpoint_epochs": [4]})
