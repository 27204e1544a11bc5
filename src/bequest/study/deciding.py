"""Which steps decide, and what does each need?

A decision is one step a target. Its trainings are steps of their own where a study has such trainings anyway (from
earlier checkpoints, on fewer images), and shared with the analyses by their keys; the ranking of sources trains inside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bequest.study import soup_and_freeze
from bequest.study.asked_task import task_for
from bequest.study.decision_options import CheckpointChoice, Freeze, LabelCurve, Soup, SourceChoice
from bequest.study.making import make
from bequest.study.options import Checkpoints, Measured
from bequest.study.step import Step
from bequest.study.trainings import Cell, Trainings
from bequest.study.weight_files import content_hash
from bequest.training.seeds import fold

MOST_SIZES = 5


def decide(
    trainings: Trainings,
    name: str,
    decision: str,
    options: Measured,
    runs: Mapping[str, Step],
    measured: Mapping[tuple[str, str], Step],
) -> tuple[Step, list[Cell]]:
    """Make the step of a decision on a target.

    Args:
        trainings: the study's trainings.
        name: the target.
        decision: which.
        options: its options.
        runs: the target's runs, by name.
        measured: the steps of the analyses, by analysis and target.

    Returns:
        The step, and the further trainings that it needs.

    Raises:
        ValueError: if the study has no such trainings.
    """
    if isinstance(options, Soup):
        return soup_and_freeze.soup(trainings, name, options, runs), []
    if isinstance(options, Freeze):
        return soup_and_freeze.freeze(trainings, name, options, measured), []
    study = trainings.study
    target = study.targets[name]
    arguments: dict[str, Any] = {"target": name, "seed": fold(study.seed, "decide", decision)} | trainings.data(target)
    inputs: dict[str, Step] = {"images": trainings.domains[target.data]}
    if trainings.pretrained is not None:
        inputs["pretrained"] = trainings.pretrained
    places: dict[str, str] = {}
    cells: list[Cell] = []
    cost = 10.0
    if isinstance(options, CheckpointChoice):
        asked = study.analyses.checkpoints
        epochs = options.epochs if options.epochs is not None else asked.epochs if asked else None
        cells = trainings.from_checkpoints(name, Checkpoints(epochs=epochs, sweep=options.sweep))
        arguments["margin"] = options.margin
    elif isinstance(options, LabelCurve):
        cells = trainings.at_sizes(name, _sizes(trainings, name, options), options.budget, options.sweep)
    elif isinstance(options, SourceChoice):
        if task_for(trainings.opened[target.data]) == "language-modelling":
            raise ValueError(
                f"decisions.source scores how well features tell classes, and the texts of {target.data} have none; "
                "name other targets in decisions.source.targets, or leave it out"
            )
        rates = options.learning_rates or dict(study.arms.learning_rates).get("finetune", ())
        arguments |= trainings.network | options.model_dump(mode="json", include={"fresh", "by", "top", "replicas"})
        arguments |= {"learning_rates": list(rates), "recipe": study.arms.recipe.model_dump(mode="json")}
        arguments["candidates"] = {one: content_hash(path) for one, path in options.candidates.items()}
        arguments |= {"trust_pickle": True} if study.trust_pickle else {}
        places = {f"path/{one}": str(path) for one, path in options.candidates.items()}
        tried = min(len(places) + 2, options.top or math.inf) * (len(rates) + options.replicas - 1 or 1)
        shown = trainings.count(target.data, "train", target.shots)
        cost = 3 * tried * study.arms.recipe.epochs * shown + (len(places) + 2) * shown
    arguments["cells"] = [[cell.name, cell.run, cell.place] for cell in cells]
    inputs |= {f"run/{cell.name}": cell.step for cell in cells}
    return make(f"decide_{decision}", arguments, inputs, f"{name}: decide {decision}", cost, places), cells


def _sizes(trainings: Trainings, name: str, options: LabelCurve) -> Mapping[int, float]:
    """Shots -> how many times the epochs of the largest size it is trained."""
    target = trainings.study.targets[name]
    domain = trainings.opened[target.data]
    if task_for(domain) != "classification":
        what = "may have several labels" if task_for(domain) == "multilabel" else "have no classes"
        raise ValueError(
            f"decisions.labels counts examples of one class each, and those of {target.data} {what}; name other "
            "targets in decisions.labels.targets, or leave it out"
        )
    counts = [0] * len(domain.classes)
    for record in domain.records:
        if record.split == "train" and isinstance(record.target, int):
            counts[record.target] += 1
    most = min(counts)
    largest = max(options.sizes) if options.sizes else target.shots or most
    if largest > most:
        raise ValueError(f"decisions.labels.sizes has {largest}, but a class of {target.data} has {most} images")
    sizes = options.sizes or {largest >> power for power in range(MOST_SIZES) if largest >> power}
    if len(sizes) < 2:
        raise ValueError(
            f"decisions.labels needs at least two sizes, and {target.data} has {largest} image a class in train"
        )
    return {size: largest / size for size in sorted(sizes)}
