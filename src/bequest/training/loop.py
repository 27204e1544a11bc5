"""How does a model learn?

The one loop. What changes between experiments is in the recipe, the start and the data; nobody edits the loop. Every
random choice comes from `order_seed`: two trainings that differ in it alone differ in data order and augmentation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bequest.data.augment import augment, mixup
from bequest.data.batches import Stored, normalised
from bequest.evaluation.batches import Batches, Inputs, forward
from bequest.evaluation.predict import measure
from bequest.evaluation.tasks import Task
from bequest.training import resume
from bequest.training.group import Group
from bequest.training.part_of_batch import part_of_batch
from bequest.training.recipe import Recipe
from bequest.training.schedule import learning_rate
from bequest.training.seeds import fold, generator
from bequest.training.stale_batchnorm import tell_if_stale
from bequest.training.trajectory import Trajectory, metrics_table
from bequest.weights.algebra import Weights


class Diverged(ArithmeticError):
    """The training loss is no longer a number."""


@dataclass(frozen=True)
class Examples:
    """Training examples.

    Attributes:
        images: uint8 [N, 3, H, W], in memory, or in packed arrays until they are needed; or, of texts, the model's
            inputs by name, each [N, …], which are given as they are: neither normalised nor augmented.
        targets: int64 [N], or labels float [N, classes].
        classes: number of classes.
        mean: per channel, of images scaled to 0..1.
        std: likewise.
    """

    images: Tensor | Stored | Mapping[str, Tensor]
    targets: Tensor
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def train(
    model: nn.Module,
    examples: Examples,
    *,
    recipe: Recipe,
    order_seed: int,
    task: Task,
    watch: dict[str, Batches],
    finally_watch: dict[str, Batches] | None = None,
    checkpoint_epochs: Sequence[int] = (),
    learns: Sequence[str] = ("",),
    pace: Callable[[int], Mapping[str, float]] | None = None,
    see: Callable[[Tensor, Tensor], Tensor] | None = None,
    keep: Callable[[str, Weights], None],
    state: Path | None = None,
    state_every: float = 0.0,
    on_epoch: Callable[[int], None] | None = None,
    on_measured: Callable[[Sequence[Mapping[str, Any]]], None] | None = None,
    group: Group | None = None,
) -> Trajectory:
    """Train a model in place.

    Args:
        model: starts from the weights that it has.
        examples: what it is trained on.
        recipe: how.
        order_seed: seed of data order, augmentation and mixup.
        task: loss to minimise, error to report.
        watch: splits measured in evaluation mode before the first epoch and after those that the recipe says;
            `validation` chooses the best.
        finally_watch: splits measured once, after the last epoch (a test set is never looked at before).
        checkpoint_epochs: epochs after which the weights are kept and the splits measured, besides step 0, the best and
            the last.
        learns: paths of the modules that learn, `""` for the whole model; the rest stays as it is, weights and running
            statistics, and runs in evaluation mode.
        pace: is asked before each epoch (the first is 0) for multiples of the learning rate, by the name of a
            parameter; those that it does not name keep 1.
        see: is given each batch of augmented, normalised images and the places of its images in `examples`, and gives
            the images that the model sees; it must do the same to the images that are measured.
        keep: is given each checkpoint's name and weights (on the CPU) as soon as it is there.
        state: a file to go on from if it is there, written after each epoch; None for short trainings.
        state_every: seconds between two such writings at least: where epochs are short, not each is written but the
            first.
        on_epoch: is told each epoch that is done.
        on_measured: is given all metrics so far, at the start and whenever there are new ones: of a training that goes
            on, those that it goes on from.
        group: of the processes that train this model together, each with a call like this one; the splits are then
            this process' own batches, and the first process alone keeps checkpoints and writes the state.

    Returns:
        The metrics; checkpoints have gone to `keep`.

    Raises:
        Diverged: if the loss is not finite.
        ValueError: if texts should be mixed or shuffled in blocks.
    """
    device = next(model.parameters()).device
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model.to(memory_format=layout)  # type: ignore[call-overload] # torch's stub lacks this overload
    learning = [model.get_submodule(path) for path in learns]
    own = {parameter for part in learning for parameter in part.parameters()}
    stopped = [one for one in model.parameters() if one.requires_grad and one not in own]
    for parameter in stopped:
        parameter.requires_grad_(False)
    optimizer = make_optimizer(model, recipe, each=pace is not None)
    streams = {name: generator(order_seed, name) for name in ("order", "augmentation", "mixup")}
    done = resume.load(state, model, optimizer, streams) if state else None
    progress = done or resume.Progress()
    writes = group is None or group.first
    if group:
        group.check_alike(model, f"at the start, after {progress.epoch} epochs")
    steps_per_epoch = math.ceil(len(examples.targets) / recipe.batch_size)
    steps = recipe.epochs * steps_per_epoch
    if writes:
        tell_if_stale(model, steps, learns)

    def record(splits: dict[str, Batches], epoch: int, rate: float) -> None:
        for split, batches in splits.items():
            loss, error = group.measure(model, batches, task) if group else measure(model, batches, task)
            if epoch > 0:  # a start that is not finite is told by the first step
                _check(loss, f"on {split}", epoch, rate)
            row = {"epoch": epoch, "step": epoch * steps_per_epoch, "split": split, "error": error, "loss": loss}
            progress.rows.append(row | {"learning_rate": rate})
            if split == "validation" and epoch > 0 and (error, loss) < progress.best_score:
                progress.best_score = (error, loss)
                progress.best = snapshot(model) if writes else {}
        if on_measured:
            on_measured(progress.rows)

    def leave(name: str) -> None:
        if writes:
            keep(name, progress.best if name == "best" and progress.best else snapshot(model))

    if on_measured:
        on_measured(progress.rows)
    if done is None:
        leave("step-0")
        record(watch, 0, 0.0)
    images = examples.images.to(device) if isinstance(examples.images, Tensor) else examples.images
    if isinstance(images, Mapping) and (recipe.mixup > 0 or see is not None):
        raise ValueError("texts can be neither mixed (recipe.mixup) nor shuffled in blocks; leave that out")
    targets = examples.targets.to(device)
    written = -math.inf
    for epoch in range(progress.epoch, recipe.epochs):
        if pace is not None:
            paces = pace(epoch)
            for learned in optimizer.param_groups:
                learned["factor"] = learned["usual"] * paces.get(learned["name"], 1.0)
        order = torch.randperm(len(targets), generator=streams["order"]).to(device)
        whose = (group.rank,) if group else ()  # dropout must not take the same away from every part of a batch
        with _lent_generator(fold(order_seed, "model", epoch, *whose), device):
            for number, chosen in enumerate(order.tensor_split(steps_per_epoch)):
                step = epoch * steps_per_epoch + number
                rate = learning_rate(recipe, step, steps)
                goal = targets[chosen]
                mine = group.part(len(chosen)) if group else slice(None)
                batch: Inputs
                if isinstance(images, Mapping):
                    batch = {name: tensor[chosen[mine].to(tensor.device)] for name, tensor in images.items()}
                elif group:
                    seen, goal = part_of_batch(
                        images,
                        chosen,
                        goal,
                        mine,
                        recipe=recipe,
                        classes=examples.classes,
                        normalise=(examples.mean, examples.std),
                        streams=streams,
                        see=see,
                    )
                    batch = seen.contiguous(memory_format=layout)
                else:
                    seen = prepare(images[chosen].to(device), examples, recipe, streams["augmentation"])
                    seen = seen if see is None else see(seen, chosen)
                    if recipe.mixup > 0:
                        seen, goal = mixup(
                            seen, goal, alpha=recipe.mixup, classes=examples.classes, generator=streams["mixup"]
                        )
                    batch = seen.contiguous(memory_format=layout)
                model.eval()
                for part in learning:
                    part.train()
                loss = _step(model, optimizer, batch, goal, rate, recipe, task, group)
                _check(loss, f"step {step + 1}", epoch + 1, rate)
        progress.epoch = epoch + 1
        if group:
            group.check_alike(model, f"after epoch {progress.epoch}")
        kept = progress.epoch in checkpoint_epochs
        if kept or progress.epoch % recipe.evaluate_every == 0 or progress.epoch == recipe.epochs:
            record(watch, progress.epoch, rate)
        if kept:
            leave(f"epoch-{progress.epoch}")
        if state and writes and time.monotonic() - written >= state_every:
            resume.save(state, progress, model, optimizer, streams)
            written = time.monotonic()
        if on_epoch:
            on_epoch(progress.epoch)
    for parameter in stopped:
        parameter.requires_grad_()
    record(finally_watch or {}, recipe.epochs, 0.0)
    leave("last")
    leave("best")
    return Trajectory(metrics_table(progress.rows))


def _check(loss: float, where: str, epoch: int, rate: float) -> None:
    if not math.isfinite(loss):
        raise Diverged(
            f"the loss became {loss} in epoch {epoch}, {where}, at learning rate {rate:.3g}; "
            "lower the learning rate or lengthen the warm-up"
        )


@contextmanager
def _lent_generator(seed: int, device: torch.device) -> Iterator[None]:
    """Give a model's dropout, which knows no other, torch's own generator, seeded; the caller's comes back after."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Inputs,
    goal: Tensor,
    rate: float,
    recipe: Recipe,
    task: Task,
    group: Group | None,
) -> float:
    """Take a step; in a group the batch is this process' part of it, the goal is that of the whole batch."""
    for parameters in optimizer.param_groups:
        parameters["lr"] = rate * parameters["factor"]
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(goal.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        with group.whole_batch() if group else nullcontext():
            outputs = forward(model, batch)
    if group:
        loss = task.loss(outputs, goal[group.part(len(goal))])
        loss = group.backward(model, loss, group.weight(task, goal))
    else:
        loss = task.loss(outputs, goal)
        loss.backward()
    optimizer.step()
    return float(loss.detach())


def prepare(images: Tensor, examples: Examples, recipe: Recipe, stream: torch.Generator) -> Tensor:
    """Turn uint8 images [B, 3, H, W] into augmented, normalised float32 ones of the same shape."""
    seen = normalised(images, (examples.mean, examples.std))
    return augment(seen, kind=recipe.augmentation, generator=stream)


def make_optimizer(model: nn.Module, recipe: Recipe, *, each: bool = False) -> torch.optim.Optimizer:
    """Make the optimiser of a recipe, with a group of its own for parameters named bias or scale.

    Args:
        model: whose trainable parameters are taken.
        recipe: optimiser, momentum, weight decay, factor for biases and scales.
        each: give every parameter a group of its own, with its `name` and `usual` factor.

    Returns:
        An optimiser whose groups carry `factor`, the multiple of the scheduled learning rate.
    """
    small: list[nn.Parameter] = []
    usual: list[nn.Parameter] = []
    groups: list[dict[str, Any]] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            last = name.rsplit(".", 1)[-1]
            slow = recipe.scalar_factor != 1 and ("bias" in last or "scale" in last)
            (small if slow else usual).append(parameter)
            factor = recipe.scalar_factor if slow else 1.0
            groups.append({"params": [parameter], "factor": factor, "usual": factor, "name": name})
    if not each:
        groups = [{"params": usual, "factor": 1.0}, {"params": small, "factor": recipe.scalar_factor}]
    groups = [group for group in groups if group["params"]]
    decay, momentum = recipe.weight_decay, recipe.momentum
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, recipe.learning_rate, (momentum, 0.999), weight_decay=decay, fused=True)
    return torch.optim.SGD(groups, recipe.learning_rate, momentum, weight_decay=decay, fused=True)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Copy the weights to the CPU, in the plain memory layout."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in model.state_dict().items()}
