"""What does an analysis of another package get to measure?

Everything that an analysis of Bequest gets of a target, and nothing of where it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from bequest.evaluation.batches import Batches
from bequest.evaluation.tasks import Task
from bequest.training.trajectory import Trajectory
from bequest.weights.algebra import Weights
from bequest.weights.modules import Module


@dataclass(frozen=True)
class Material:
    """The runs of a study on one target, and the images to measure them on.

    Attributes:
        model: the network of all runs, on the device to measure on; its own weights mean nothing, so run it with
            weights of a run: `bequest.predict(model, batches, weights=…)`.
        runs: the trajectory of each run that did not fail, by name (`finetune/0`, `randinit/0b`); checkpoints are read
            when they are asked for. A run of weights that were given has no start, and one measurement of each split.
        pretrained: the trajectory of P, with the source's head; None where nothing is known of a start.
        batches: the images (or tokens) of each split that has some, by `train`, `validation`, `test`: in fixed order,
            normalised, without augmentation, and of the training split only the shots of the study.
        modules: the network's modules, in the order in which images go through them.
        task: the target's loss and error.
        classes: names of the classes or labels, in the order of the outputs; none where tokens are to be said.
        chance: accuracy of guessing, 0..1; of several labels an AUROC of 0.5, of tokens the share of the likeliest.
        seed: of every random stream of this analysis.
        tell: takes the share that is done, 0..1, for the line of progress.
    """

    model: nn.Module
    runs: Mapping[str, Trajectory]
    pretrained: Trajectory | None
    batches: Mapping[str, Batches]
    modules: Sequence[Module]
    task: Task
    classes: tuple[str, ...]
    chance: float
    seed: int
    tell: Callable[[float], None] = lambda share: None

    def weights(self, checkpoint: str = "last") -> dict[str, Weights]:
        """Read a checkpoint of each run that has it.

        Args:
            checkpoint: `step-0` (before training), `best`, `last`, or `epoch-8` where the study keeps it.

        Returns:
            The weights by the name of the run, in the order of the study.
        """
        return {name: run.checkpoints[checkpoint] for name, run in self.runs.items() if checkpoint in run.checkpoints}
