"""Which steps does a study take, and what does each need?

Draw the domains, pre-train, try the learning rates, train the arms, predict, analyse. The plan is a list in which each
step stands after its inputs. Steps that two parts of a study share are one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bequest.study.asked_task import task_for
from bequest.study.making import in_order
from bequest.study.measurements import measure
from bequest.study.options import BlockShuffle, Checkpoints
from bequest.study.possible import without_impossible
from bequest.study.spec import Study
from bequest.study.step import Step
from bequest.study.trainings import Cell, Trainings


@dataclass(frozen=True)
class Plan:
    """The steps of a study.

    Attributes:
        study: what was asked.
        domains: a step per domain that is drawn, by the name of its door.
        pretrained: the step that gives P; None where weights are compared whose source is not known.
        choices: the step that chose a learning rate, by (target, what for): an arm, or one at a block size.
        sweeps: the trials behind it, likewise.
        runs: the step of each run, by target and name.
        further: the runs on shuffled images and from earlier checkpoints, by target.
        measured: the step of each analysis, by analysis and target.
        tasks: the name of the task of each target.
        classes: how many classes each domain has, by the name of its door.
    """

    study: Study
    domains: Mapping[str, Step]
    pretrained: Step | None
    choices: Mapping[tuple[str, str], Step]
    sweeps: Mapping[tuple[str, str], Mapping[str, Step]]
    runs: Mapping[str, Mapping[str, Step]]
    further: Mapping[str, tuple[Cell, ...]]
    measured: Mapping[tuple[str, str], Step]
    tasks: Mapping[str, str]
    classes: Mapping[str, int]

    def steps(self, *ends: Step) -> list[Step]:
        """Give all steps, each once, each after its inputs; `ends` are further steps that need some of them."""
        further = [cell.step for cells in self.further.values() for cell in cells]
        runs = [step for runs in self.runs.values() for step in runs.values()]
        return in_order([*self.measured.values(), *runs, *further, *ends])


def plan(study: Study) -> Plan:
    """Work out the steps of a study.

    Args:
        study: what is asked.

    Returns:
        The plan. Nothing is trained; the data are opened, to count images and to hash their content.

    Raises:
        ValueError: if the data, the model or the number of shots do not exist.
    """
    if study.given and not study.analyses.named():
        study = without_impossible(study)
    trainings = Trainings(study)
    runs: dict[str, dict[str, Step]] = {}
    further: dict[str, tuple[Cell, ...]] = {}
    measured: dict[tuple[str, str], Step] = {}
    for name in study.targets:
        runs[name] = trainings.runs(name)
        for analysis, options in study.asked().items():
            if options.targets and name not in options.targets:
                continue
            cells: list[Cell] = []
            if isinstance(options, BlockShuffle):
                cells = trainings.on_shuffled(name, options)
            elif isinstance(options, Checkpoints):
                cells = trainings.from_checkpoints(name, options)
            further[name] = (*further.get(name, ()), *cells)
            measured[analysis, name] = measure(trainings, name, analysis, options, runs[name], cells)
    found = trainings.choices, trainings.sweeps
    tasks = {name: task_for(trainings.opened[target.data]) for name, target in study.targets.items()}
    classes = {door: len(domain.classes) for door, domain in trainings.opened.items()}
    return Plan(study, trainings.domains, trainings.pretrained, *found, runs, further, measured, tasks, classes)
