"""Which steps does a study take, and what does each need?

Draw the domains, pre-train, try the learning rates, train the arms, predict, analyse. The plan is a list in which each
step stands after its inputs. Steps that two parts of a study share are one step.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bequest.data.doors import open_source
from bequest.data.source import Source as Domain
from bequest.data.source import content
from bequest.models.files import read_weights
from bequest.models.fitting import transfer
from bequest.models.opening import BUILT_IN, open_model
from bequest.study.functions import FUNCTIONS
from bequest.study.spec import Study, Target
from bequest.study.step import Step
from bequest.study.store import file_hash
from bequest.training.recipe import Recipe
from bequest.training.seeds import fold

DEEPER = ("basin", "connectivity", "matching", "criticality", "spectrum")  # they draw, so they have seeds
LEAST_TEST = 4  # the unbiased estimate of similarity needs four images


@dataclass(frozen=True)
class Plan:
    """The steps of a study.

    Attributes:
        study: what was asked.
        domains: a step per domain that is drawn, by the name of its door.
        pretrained: the step that gives P.
        choices: the step that chose a learning rate, by (target, arm).
        sweeps: the trials behind it, by (target, arm).
        runs: the step of each run, by target and name.
        measured: the step of each analysis, by analysis and target.
    """

    study: Study
    domains: Mapping[str, Step]
    pretrained: Step
    choices: Mapping[tuple[str, str], Step]
    sweeps: Mapping[tuple[str, str], Mapping[str, Step]]
    runs: Mapping[str, Mapping[str, Step]]
    measured: Mapping[tuple[str, str], Step]

    def steps(self, *ends: Step) -> list[Step]:
        """Give all steps, each once, each after its inputs; `ends` are further steps that need some of them."""
        return in_order([*self.measured.values(), *(s for runs in self.runs.values() for s in runs.values()), *ends])


def in_order(ends: Iterable[Step]) -> list[Step]:
    """Give the steps that these steps need, and these, each once, each after its inputs."""
    found: dict[str, Step] = {}

    def visit(step: Step) -> None:
        if step.key not in found:
            for needed in step.inputs.values():
                visit(needed)
            found[step.key] = step

    for step in ends:
        visit(step)
    return list(found.values())


def make(
    function: str,
    arguments: Mapping[str, Any],
    inputs: Mapping[str, Step],
    label: str,
    cost: float,
    places: Mapping[str, str] | None = None,
) -> Step:
    """Make a step of one of the study's functions."""
    known = FUNCTIONS[function]
    return Step(function, known.version, arguments, inputs, places or {}, label, cost, known.tolerant)


def plan(study: Study) -> Plan:
    """Work out the steps of a study.

    Args:
        study: what is asked.

    Returns:
        The plan. Nothing is trained; the data are opened, to count images and to hash their content.

    Raises:
        ValueError: if the data, the model or the number of shots do not exist.
    """
    return _Planner(study).plan()


class _Planner:
    """Holds what the parts of a plan share while it is made."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.model = open_model(study.model, classes=2)  # a name that does not exist is found before anything runs
        doors = [*study.source.data, *(target.data for target in study.targets.values())]
        self.opened = {door: open_source(door) for door in dict.fromkeys(doors)}
        for door, domain in self.opened.items():
            _check_splits(door, domain)
        self.domains = {door: self._draw(door, domain) for door, domain in self.opened.items()}
        self.seen = {"mean": list(study.mean), "std": list(study.std)}
        self.network = {"model": study.model} | _code(study.model)

    def _draw(self, door: str, domain: Domain) -> Step:
        arguments = {"size": self.study.size, "content": content(domain)}
        return make("images", arguments, {}, f"draw {domain.name}", len(domain.records) / 10, {"door": door})

    def plan(self) -> Plan:
        """Put the parts together."""
        study = self.study
        pretrained = self._pretrain()
        choices: dict[tuple[str, str], Step] = {}
        sweeps: dict[tuple[str, str], dict[str, Step]] = {}
        runs: dict[str, dict[str, Step]] = {}
        measured: dict[tuple[str, str], Step] = {}
        for name, target in study.targets.items():
            self._check_shots(name, target)
            for arm in ("finetune", "randinit"):
                rates = study.arms.learning_rates.get(arm, ())
                if rates:
                    sweeps[name, arm] = self._sweep(name, target, arm, rates, pretrained)
                    choices[name, arm] = self._choose(name, arm, rates, sweeps[name, arm])
            runs[name] = self._runs(name, target, choices, pretrained)
            for analysis, options in study.analyses.asked().items():
                arguments = options.model_dump(mode="json") | {"target": name} | self._data(target)
                arguments["runs"] = list(runs[name])  # so that a run that failed is missed
                step = self._measure(analysis, arguments, name, target, runs[name], pretrained)
                if analysis == "learning_curves":
                    chosen = {f"choice/{arm}": found for (where, arm), found in choices.items() if where == name}
                    step = replace(step, inputs={**step.inputs, **chosen})
                measured[analysis, name] = step
        return Plan(study, self.domains, pretrained, choices, sweeps, runs, measured)

    def _check_shots(self, name: str, target: Target) -> None:
        domain = self.opened[target.data]
        for number, shown in enumerate(domain.classes):
            there = sum(record.split == "train" and record.target == number for record in domain.records)
            if target.shots is not None and there < target.shots:
                raise ValueError(
                    f"targets.{name}.shots is {target.shots}, but class {shown!r} of {target.data} has {there} "
                    f"training images; ask for at most {there}"
                )

    def _pretrain(self) -> Step:
        source = self.study.source
        if source.weights is not None:
            transfer(read_weights(source.weights), self.model)  # weights that don't fit are found here too
            known = self.network | {"content": file_hash(source.weights)}
            return make("weights", known, {}, "read the pre-trained weights", 1, {"path": str(source.weights)})
        seed = self.study.seed
        arguments: dict[str, Any] = self.network | {"arm": "P", "shots": None} | self.seen
        arguments |= {"init_seed": fold(seed, "P", "init"), "order_seed": fold(seed, "P", "order")}
        arguments["recipe"] = _dumped(source.recipe, sweep=False)
        inputs = {f"images/{number}": self.domains[door] for number, door in enumerate(source.data)}
        cost = source.recipe.epochs * sum(self._images(door, None) for door in source.data)
        label = f"pre-train on {' and '.join(self.opened[door].name for door in source.data)}"
        return make("train", arguments, inputs, label, cost)

    def _data(self, target: Target) -> dict[str, Any]:
        # one seed for all targets: domains that show the same things then get the same things to learn from
        return {"shots": target.shots, "shots_seed": fold(self.study.seed, "shots")} | self.seen

    def _images(self, door: str, shots: int | None) -> float:
        """Images through the network in one epoch: three passes for training, one for each evaluation."""
        splits = [record.split for record in self.opened[door].records]
        training = splits.count("train")
        if shots is not None:
            training = min(training, shots * len(self.opened[door].classes))
        return 4 * training + splits.count("validation")

    def _run(
        self,
        name: str,
        what: str,
        target: Target,
        arm: str,
        seeds: tuple[int, int],
        inputs: dict[str, Step],
        rate: float | None,
    ) -> Step:
        recipe = self.study.arms.recipe
        swept = rate is not None or "choice" in inputs
        arguments: dict[str, Any] = self.network | {"arm": arm, "recipe": _dumped(recipe, sweep=swept)}
        arguments |= {"learning_rate": rate, "init_seed": seeds[0], "order_seed": seeds[1]} | self._data(target)
        if "pretrained" in inputs:
            arguments["checkpoint"] = "last"
        inputs = {"images": self.domains[target.data]} | inputs
        cost = recipe.epochs * self._images(target.data, target.shots)
        return make("train", arguments, inputs, f"{name}: {what}", cost)

    def _sweep(self, name: str, target: Target, arm: str, rates: Sequence[float], pretrained: Step) -> dict[str, Step]:
        inputs = {"pretrained": pretrained} if arm == "finetune" else {}
        # seeds of its own: a replica that was also chosen by its validation error would look better than the others
        seeds = (fold(self.study.seed, arm, "sweep", "init"), fold(self.study.seed, arm, "sweep", "order"))
        return {
            f"rate {rate:g}": self._run(name, f"try {arm} at {rate:g}", target, arm, seeds, inputs, rate)
            for rate in dict.fromkeys(rates)
        }

    def _choose(self, name: str, arm: str, rates: Sequence[float], trials: Mapping[str, Step]) -> Step:
        arguments = {"candidates": {f"rate {rate:g}": rate for rate in dict.fromkeys(rates)}}
        return make("choose", arguments, trials, f"{name}: choose the learning rate of {arm}", 1)

    def _runs(
        self, name: str, target: Target, choices: Mapping[tuple[str, str], Step], pretrained: Step
    ) -> dict[str, Step]:
        names = [f"{arm}/{number}" for arm in ("finetune", "randinit") for number in range(self.study.arms.replicas)]
        if self.study.arms.same_init:
            names.append("randinit/0b")
        runs = {}
        for run in names:
            arm, replica = run.split("/")
            # the init of 0b is that of 0; replica i of both arms shares its seeds, so that differences are paired
            seeds = (fold(self.study.seed, "init", replica.rstrip("b")), fold(self.study.seed, "order", replica))
            inputs = {"pretrained": pretrained} if arm == "finetune" else {}
            if (name, arm) in choices:
                inputs["choice"] = choices[name, arm]
            runs[run] = self._run(name, f"train {run}", target, arm, seeds, inputs, None)
        return runs

    def _measure(
        self,
        analysis: str,
        arguments: dict[str, Any],
        name: str,
        target: Target,
        runs: Mapping[str, Step],
        pretrained: Step,
    ) -> Step:
        images = self.domains[target.data]
        inputs: dict[str, Step] = {f"run/{run}": step for run, step in runs.items()}
        inputs["images"] = images
        cost = 100.0
        tests = sum(record.split == "test" for record in self.opened[target.data].records)
        if analysis == "mistakes":
            inputs = {
                f"predictions/{run}": make(
                    "predict",
                    self._data(target) | {"split": "test", "checkpoint": "last"},
                    {"images": images, "run": step},
                    f"{name}: predict with {run}",
                    tests,
                )
                for run, step in runs.items()
            }
            inputs["images"] = images
        elif analysis in ("similarity", "distance"):
            inputs["pretrained"] = pretrained
            cost = (len(runs) + 1) * tests
        elif analysis in DEEPER:
            arguments = arguments | {"seed": fold(self.study.seed, analysis)}
            if analysis == "connectivity":
                arguments["batch_size"] = self.study.arms.recipe.batch_size
            cost = 30 * len(runs) * tests
        elif analysis == "barrier":
            # naive, calibration and refitted passes at each point of about as many lines as there are runs
            cost = arguments["points"] * (len(runs) + 1) * (2 * tests + 3 * self._images(target.data, target.shots) / 4)
        return make(analysis, arguments, inputs, f"{name}: measure {analysis.replace('_', ' ')}", cost)


def _check_splits(door: str, domain: Domain) -> None:
    splits: list[str] = [record.split for record in domain.records]
    for split, least in (("train", 1), ("validation", 1), ("test", LEAST_TEST)):
        if splits.count(split) < least:
            raise ValueError(
                f"{door} has {splits.count(split)} images in {split}, and a study needs at least {least}; add images, "
                f"or name them yourself in a folder {split}/ beside the others"
            )


def _code(model: str) -> dict[str, str]:
    """The source of a network that is not built in: another network under the same name is another computation."""
    if model in BUILT_IN:
        return {}
    module = importlib.util.find_spec(model.partition(":")[0])
    source = Path(module.origin) if module and module.origin else None
    return {"code": file_hash(source)} if source and source.is_file() else {}


def _dumped(recipe: Recipe, *, sweep: bool) -> dict[str, Any]:
    dumped = recipe.model_dump(mode="json")
    if sweep:  # the rate comes from the sweep; the recipe's own has no influence
        del dumped["learning_rate"]
    return dumped
