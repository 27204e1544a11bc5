"""What comes out of one way of training, and what does it take?

Every way starts from the same weights, sees the same examples in the same order, and is measured on validation after
its last epoch. `lp-ft` trains the head first, as long as everything after it; both count. A frozen beginning is run
once and kept (`training.from_frozen`), where images are not augmented.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from bequest.decisions.scores import Scales, Score
from bequest.decisions.ways import SLOWEST, Way
from bequest.evaluation.batches import Batches
from bequest.training.examples import InOrder, examples_of, with_content
from bequest.training.from_frozen import OWN, Fed, keep_outputs, learning_paths
from bequest.training.gradient_ratios import BATCHES, gradient_ratios
from bequest.training.loop import Examples, train
from bequest.training.recipe import Recipe
from bequest.training.seeds import fold, generator
from bequest.training.step_price import forward_flops, step_price
from bequest.weights.algebra import Weights
from bequest.weights.modules import Module

MEASURED = 256  # examples a batch where frozen outputs are worked out and measured
Pace = Callable[[int], Mapping[str, float]]


@dataclass(frozen=True)
class Trial:
    """What one training left.

    Attributes:
        weights: at the end; tensors that did not move are those of the start.
        score: on validation.
        seconds: of the training, with its measurements and with what was worked out before it.
        flops: of the training, counted.
        memory: bytes that a step holds, counted.
        kept: bytes of what was kept of a frozen beginning.
        learning: parameters that learn, in the end.
        ratios: of `auto-rgn` before the last epoch: parameter -> multiple of the learning rate.
    """

    weights: Weights = field(repr=False)
    score: Score
    seconds: float
    flops: float
    memory: int
    kept: int = 0
    learning: int = 0
    ratios: Mapping[str, float] = field(default_factory=dict, repr=False)


@dataclass
class Trials:
    """Trains ways on the same examples.

    Attributes:
        model: the network; it is left as it was.
        units: its modules in order of execution.
        order: names of those below the head.
        examples: what is learned from.
        validation: batches.
        scales: what measures.
        recipe: how; the learning rate is that of each training.
        seed: of data order and augmentation.
        most: bytes of a frozen beginning's outputs that may be kept.
    """

    model: nn.Module
    units: Sequence[Module]
    order: Sequence[str]
    examples: Examples
    validation: Batches
    scales: Scales
    recipe: Recipe
    seed: int = 0
    most: int = 2**30

    def run(self, way: Way, start: Weights, replica: int, rate: float) -> Trial:
        """Train one way.

        Args:
            way: what learns.
            start: the weights to start from.
            replica: whose data order is used.
            rate: peak learning rate.

        Returns:
            What came out.
        """
        if way.rule == "lp-ft":
            first = self.run(Way("probe", tuple(self.order), "probe"), start, replica, rate)
            second = self.run(Way("finetune"), first.weights, replica, rate)
            seconds, flops = first.seconds + second.seconds, first.flops + second.flops
            memory = max(first.memory, second.memory)
            return replace(second, seconds=seconds, flops=flops, memory=memory, kept=first.kept)
        began = time.perf_counter()
        recipe = self.recipe.model_copy(update={"learning_rate": rate, "evaluate_every": self.recipe.epochs})
        network = copy.deepcopy(self.model)
        network.load_state_dict(dict(start))
        fed, examples, watched = Fed(network), self.examples, self.validation
        learns = _learning(network, self.units, way)
        price, kept = 0.0, 0
        if way.frozen and recipe.augmentation == "none" and recipe.mixup == 0 and recipe.precision == "float32":
            sets = [InOrder(examples, MEASURED), watched]
            if found := keep_outputs(fed, self.units, way.frozen, sets, most=self.most):
                whole = forward_flops(fed, next(iter(sets[0]))[0])
                examples, watched = with_content(found[0]), InOrder(with_content(found[1]), MEASURED)
                part = forward_flops(fed, next(iter(InOrder(examples, MEASURED)))[0])
                price = (whole - part) * sum(len(targets) for _, targets in found)
                kept = sum(tensor.nbytes for inputs, _ in found for tensor in inputs.values())
                self.scales.images += sum(len(targets) for _, targets in found)
        ratios: dict[str, float] = {}
        pace = self._pace(way, fed, replica, ratios)
        last: dict[str, Tensor] = {}
        train(
            fed,
            examples,
            recipe=recipe,
            order_seed=fold(self.seed, "order", replica),
            task=self.scales.task,
            watch={"validation": watched},
            learns=learns,
            pace=pace,
            keep=lambda name, weights: last.update(weights) if name == "last" else None,
        )
        seconds = time.perf_counter() - began
        step = step_price(fed, learns, *next(iter(InOrder(examples, recipe.batch_size))), self.scales.task, recipe)
        count = len(examples.targets)
        looked_at = min(count, BATCHES * recipe.batch_size) if way.rule == "auto-rgn" else 0
        steps = recipe.epochs * (count + looked_at)
        price += step.flops * steps
        weights = {name: _moved(last[f"{OWN}{name}"], tensor) for name, tensor in start.items()}
        score = self.scales.score(weights, self.validation)
        self.scales.images += steps + 2 * score.n  # before the first epoch and after the last
        learning = sum(p.numel() for path in learns for p in fed.get_submodule(path).parameters())
        plain = {name.removeprefix(OWN): ratio for name, ratio in ratios.items()}
        return Trial(weights, score, seconds, price, step.memory, kept, learning, plain)

    def _pace(self, way: Way, fed: Fed, replica: int, ratios: dict[str, float]) -> Pace | None:
        """How fast each parameter learns in an epoch; what the gradients said last is left in `ratios`."""
        if way.rule == "slower":
            depth = {name: place for place, unit in enumerate(self.units) for name in unit.parameters}
            last = max(1, len(self.units) - 1)
            factors = {f"{OWN}{name}": SLOWEST ** (1 - place / last) for name, place in depth.items()}
            return lambda epoch: factors
        if way.rule != "auto-rgn":
            return None
        size = self.recipe.batch_size

        def pace(epoch: int) -> Mapping[str, float]:
            stream = generator(self.seed, "gradients", replica, epoch)
            order = torch.randperm(len(self.examples.targets), generator=stream)[: BATCHES * size]
            ratios.update(gradient_ratios(fed, InOrder(self.examples, size, order.tolist()), self.scales.task))
            return ratios

        return pace


def _learning(network: nn.Module, units: Sequence[Module], way: Way) -> tuple[str, ...]:
    """Paths, inside of Fed, of what learns."""
    names = {name for unit in units if unit.name not in way.frozen for name in unit.parameters}
    return tuple(f"{OWN}{path}".rstrip(".") for path in learning_paths(network, names))


def _moved(new: Tensor, old: Tensor) -> Tensor:
    """The tensor of the start where it did not move, so that it is held once."""
    return old if torch.equal(new, old.cpu()) else new


def examples_from(training: Batches | Examples, recipe: Recipe) -> Examples:
    """Give the examples to learn from.

    Args:
        training: batches, or examples as they are.
        recipe: refused where batches do not allow what it asks for.

    Returns:
        The examples.

    Raises:
        ValueError: if batches should be augmented or mixed.
    """
    if isinstance(training, Examples):
        return training
    if recipe.augmentation != "none" or recipe.mixup > 0:
        raise ValueError("batches are learned from as they are; to augment images, give them as Examples")
    return examples_of(training)
