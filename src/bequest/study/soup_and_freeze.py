"""What do the steps need that decide on a soup and on freezing?

`soup` reads the fine-tunes, P, and the other domains
of the study that have the same classes; `freeze` reads P and, where the study measures them, criticality and
similarity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bequest.analyses.pairs import arm, repeats_init
from bequest.evaluation.batchnorm import has_batchnorm
from bequest.study.decision_options import Freeze, Soup
from bequest.study.making import make
from bequest.study.step import Step
from bequest.study.trainings import Trainings
from bequest.training.seeds import fold

READ = ("criticality", "similarity")  # these say which modules may be frozen


def soup(trainings: Trainings, name: str, options: Soup, runs: Mapping[str, Step]) -> Step:
    """Make the step that averages the fine-tunes of a target.

    Args:
        trainings: the study's trainings.
        name: the target.
        options: of the decision.
        runs: the target's runs, by name.

    Returns:
        The step, with the steps before it.
    """
    study, target = trainings.study, trainings.study.targets[name]
    members = [run for run in runs if arm(run) in ("finetune", "model") and not repeats_init(run)]
    arguments: dict[str, Any] = options.model_dump(mode="json", exclude={"targets"})
    arguments |= {"target": name, "runs": members, "seed": fold(study.seed, "soup")} | trainings.data(target)
    inputs = {f"run/{run}": runs[run] for run in members} | {"images": trainings.domains[target.data]}
    if trainings.pretrained is not None:
        inputs["pretrained"] = trainings.pretrained
    own = trainings.opened[target.data]
    for door, domain in trainings.opened.items():
        if door != target.data and domain.classes == own.classes and domain.texts == own.texts:
            inputs[f"other/{door}"] = trainings.domains[door]
    seen = trainings.count(target.data, "validation") + trainings.count(target.data, "test")
    train = trainings.count(target.data, "train", target.shots)
    refitted = train if has_batchnorm(trainings.model) else 0
    lines = len(members) * (len(members) - 1) / 2 * (options.points - 2)
    cost = (lines + 12 + 2 * len(members)) * (seen + refitted)  # eleven steps to P, and the means themselves
    return make("decide_soup", arguments, inputs, f"{name}: decide on a soup", cost)


def freeze(trainings: Trainings, name: str, options: Freeze, measured: Mapping[tuple[str, str], Step]) -> Step:
    """Make the step that trains with modules frozen.

    Args:
        trainings: the study's trainings.
        name: the target.
        options: of the decision.
        measured: the steps of the analyses, by analysis and target.

    Returns:
        The step, with the steps before it.
    """
    study, target = trainings.study, trainings.study.targets[name]
    recipe = options.recipe or study.arms.recipe
    arguments: dict[str, Any] = options.model_dump(mode="json", exclude={"targets", "recipe"}) | trainings.network
    arguments |= {"target": name, "runs": [], "recipe": recipe.model_dump(mode="json")} | trainings.data(target)
    arguments |= {"seed": fold(study.seed, "freeze"), "arm": "finetune", "checkpoint": "last"}
    arguments["init_seeds"] = [fold(study.seed, "init", str(replica)) for replica in range(options.replicas)]
    assert trainings.pretrained is not None
    inputs = {"images": trainings.domains[target.data], "pretrained": trainings.pretrained}
    inputs |= {f"measured/{analysis}": measured[analysis, name] for analysis in READ if (analysis, name) in measured}
    if options.recipe is None and (name, "finetune") in trainings.choices:
        inputs["choice"] = trainings.choices[name, "finetune"]
        del arguments["recipe"]["learning_rate"]
    ways = len(options.rules) + options.prefixes + len(options.modules) + 2
    rates = max(1, len(options.learning_rates))
    train = trainings.count(target.data, "train", target.shots)
    cost = ways * (options.replicas + rates - 1) * 2 * recipe.epochs * train
    return make("decide_freeze", arguments, inputs, f"{name}: decide on freezing", cost)
