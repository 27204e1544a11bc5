"""Which steps measure, and what does each need?

One step an analysis and target. Its arguments are the options that the study gives, the names of the runs that were
planned (so that one that failed is missed), and how the images are chosen and normalised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bequest.analyses.pairs import CONTROLS, replicas
from bequest.analyses.plugins import plugin
from bequest.evaluation.batchnorm import has_batchnorm
from bequest.study.making import make
from bequest.study.options import (
    Analyses,
    Barrier,
    Basin,
    BlockShuffle,
    Checkpoints,
    Connectivity,
    Criticality,
    Matching,
    Measured,
    Plane,
    Similarity,
    Valley,
)
from bequest.study.step import Step
from bequest.study.trainings import Cell, Trainings
from bequest.training.seeds import fold

DRAWING = ("basin", "plane", "connectivity", "matching", "criticality", "valley", "spectrum")  # so they have seeds
FROM_P = ("similarity", "distance", "checkpoints")  # these look at P too
MODULES = 12  # a typical number, for the estimates
NOISES = 6  # sigmas of a valley
SEARCHED = 12  # points looked at for each sample of a basin, in both ways out of it
COARSE = 0.1  # a precision of mu above this takes half of the passes
TRIED = 70  # forward passes over the images for each module of criticality; 10 draws, mu to two percent


@dataclass(frozen=True)
class Images:
    """How many images there are, for estimates of cost.

    Attributes:
        train: those that are learned from.
        test: those of the test split.
        refitted: those that BatchNorm is refitted on; 0 for a network without it.
    """

    train: int
    test: int
    refitted: int

    def seen(self, most: int | None) -> int:
        """Give the training images that are measured, if at most so many are."""
        return self.train if most is None else min(self.train, most)

    def point(self, splits: Sequence[str] = ("train", "test")) -> int:
        """Give the images for one measurement of weights, with BatchNorm refitted."""
        return sum({"train": self.train, "test": self.test}.get(split, self.test) for split in splits) + self.refitted


def measure(
    trainings: Trainings, name: str, analysis: str, options: Measured, runs: Mapping[str, Step], cells: Sequence[Cell]
) -> Step:
    """Make the step of an analysis on a target.

    Args:
        trainings: the study's trainings.
        name: the target.
        analysis: what is measured.
        options: its options.
        runs: the target's runs, by name.
        cells: the runs of a further experiment, for `block_shuffle` and `checkpoints`.

    Returns:
        The step, with the steps before it.
    """
    study = trainings.study
    target = study.targets[name]
    images = trainings.domains[target.data]
    among = {cell.name: cell.step for cell in cells} if cells else runs
    own = analysis in Analyses.model_fields
    arguments = options.model_dump(mode="json", exclude={"targets", "recipe", "sweep"} if own else {"targets"})
    if not own:
        arguments = {"analysis": analysis, "version": plugin(analysis).version, "options": arguments}
    arguments |= {"target": name, "runs": list(among)} | trainings.data(target)
    inputs: dict[str, Step] = {f"run/{run}": step for run, step in among.items()}
    inputs["images"] = images
    if cells:
        arguments["cells"] = [[cell.name, cell.run, cell.place, cell.mode] for cell in cells]
        arguments["size"] = study.size
    if analysis == "mistakes":
        inputs = {
            f"predictions/{run}": make(
                "predict",
                trainings.data(target) | {"split": "test", "checkpoint": "last"},
                {"images": images, "run": step},
                f"{name}: predict with {run}",
                trainings.count(target.data, "test"),
            )
            for run, step in runs.items()
        } | {"images": images}
    if analysis == "learning_curves":
        inputs |= {
            f"choice/{arm}": step
            for (where, arm), step in trainings.choices.items()
            if where == name and arm in study.arms.names
        }
    if (analysis in FROM_P or not own) and trainings.pretrained is not None:
        inputs["pretrained"] = trainings.pretrained
    if analysis in DRAWING or not own:
        arguments["seed"] = fold(study.seed, analysis)
    if analysis == "connectivity":
        arguments["batch_size"] = study.arms.recipe.batch_size
    shots = trainings.count(target.data, "train", target.shots)
    counts = Images(shots, trainings.count(target.data, "test"), shots if has_batchnorm(trainings.model) else 0)
    cost = cost_of(options, list(runs), counts) if own else len(runs) * counts.point()
    return make(analysis if own else "plugin", arguments, inputs, f"{name}: measure {analysis.replace('_', ' ')}", cost)


def cost_of(options: Measured, runs: Sequence[str], images: Images) -> float:
    """Estimate what an analysis costs.

    Args:
        options: of the analysis.
        runs: names of the runs.
        images: how many there are.

    Returns:
        Images through the network; three for one that is learned from.
    """
    arms = {arm: len(names) for arm, names in replicas(runs).items()}
    several = [count for count in arms.values() if count > 1]
    inits = arms.get("randinit", 0)
    pairs = sum(count * (count - 1) // 2 for count in several)
    match options:
        case Similarity():
            return (len(runs) + 1) * images.test + images.refitted
        case Barrier():
            lines = len(runs) * (len(runs) - 1) // 2 if options.pairs == "all" else pairs + 2
            naive = images.point(options.splits) - images.refitted if images.refitted else 0
            return ((options.points - 2) * lines + len(runs)) * (images.point(options.splits) + naive)
        case Basin():
            return len(several) * options.samples * (1 + 2 * SEARCHED) * images.point(options.splits)
        case Plane():
            return 2 * (options.budget * options.points**2 + 3) * images.point()
        case Connectivity():
            points = 2 * options.points * images.point()
            return min(options.pairs, inits * (inits - 1) // 2) * (3 * options.epochs * images.train + points)
        case Matching():
            return 3 * inits * (inits - 1) / 2 * options.points * images.point()
        case Criticality():
            others = options.replicas if options.others is None else options.others
            ways = len(options.paths) * len(options.ends)
            first = sum(min(options.replicas, count) for arm, count in arms.items() if arm not in CONTROLS)
            rest = sum(min(others, count) for arm, count in arms.items() if arm in CONTROLS)
            rest += (ways - 1) * sum(min(others, count) for arm, count in arms.items() if arm not in CONTROLS)
            passes = TRIED * options.draws / 10 if options.draws else 1
            passes *= 0.5 if options.draws and options.precision > COARSE else 1
            return (first + rest) * MODULES * passes * images.seen(options.images)
        case Valley():
            places = options.points * NOISES * options.draws * len(options.paths)
            return 2 * options.replicas * (len(options.modules) or 3) * places * images.seen(options.images) / 2
        case BlockShuffle() | Checkpoints():
            return len(runs)
        case _:
            return 10.0
