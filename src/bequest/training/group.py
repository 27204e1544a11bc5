"""How do several processes train one model as one process would?

Each holds the whole model and takes a part of every batch. Of the loss of the whole batch, a mean over examples, labels
or tokens, it has its own mean, weighted by its count. The gradients of the parts are summed before the step, so all
take the same step. BatchNorm sees the whole batch (`global_batchnorm`). Each measures whole batches of its own, which
are counted together. All processes make the same calls in the same order; one that cannot go on ends, and the next call
of its peers fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, nn
from torch import distributed as dist

from bequest.evaluation.applied import applied
from bequest.evaluation.batches import Batches, forward
from bequest.evaluation.tasks import Tally, Task
from bequest.training.global_batchnorm import GlobalBatchNorm


class Unanswered(RuntimeError):
    """Another process has ended, or stood still for too long."""


@dataclass(frozen=True)
class Group:
    """One process of those that train a model together.

    Attributes:
        rank: its number, from 0.
        size: how many they are.
        device: where it computes and sends from.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Give this process' part of a batch: the parts differ by one example at most, the first are the larger."""
        whole, more = divmod(count, self.size)
        start = self.rank * whole + min(self.rank, more)
        return slice(start, start + whole + (self.rank < more))

    def weight(self, task: Task, goal: Tensor) -> float:
        """Give the share that this process' mean has in the mean over the whole batch, whose targets are `goal`."""
        part = goal[self.part(len(goal))]
        if task.count is None:
            return len(part) / len(goal)
        return task.count(part) / max(1, task.count(goal))

    def whole_batch(self) -> GlobalBatchNorm:
        """Give a context in which BatchNorm sees the whole batch."""
        return GlobalBatchNorm(self._every)

    def backward(self, model: nn.Module, loss: Tensor, weight: float) -> Tensor:
        """Leave the gradient of the whole batch's loss in the model of each process.

        Args:
            model: whose parameters learn.
            loss: of this process' part, a tensor [].
            weight: see `weight`.

        Returns:
            The loss of the whole batch, the same in each process; a gradient that no process has stays None.
        """
        part = loss * weight
        part.backward()
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        kind = torch.float64 if any(one.dtype == torch.float64 for one in learning) else torch.float32
        there = torch.tensor([one.grad is not None for one in learning])
        sent = [torch.zeros_like(one) if one.grad is None else one.grad for one in learning]
        flat = [gradient.reshape(-1).to(kind) for gradient in sent]
        total = self._total(torch.cat([*flat, there.to(self.device, kind), part.detach().to(kind).reshape(1)]))
        *gradients, found, loss = total.split([*[len(one) for one in flat], len(there), 1])
        for parameter, gradient, anywhere in zip(learning, gradients, (found > 0).tolist(), strict=True):
            # in the parameter's own memory layout, on which fused optimisers count
            parameter.grad = torch.empty_like(parameter).copy_(gradient.view_as(parameter)) if anywhere else None
        return loss[0]

    def measure(self, model: nn.Module, batches: Batches, task: Task) -> tuple[float, float]:
        """Measure as `evaluation.predict.measure`; the batches are this process' own, maybe none."""
        tally = Tally(task)
        with applied(model, None), torch.inference_mode():
            for inputs, targets in batches:
                tally.add(forward(model, inputs), targets)
        return tally.together(self._total, self._joined).means()

    def check_alike(self, model: nn.Module, what: str) -> None:
        """Refuse to go on where the processes have come apart.

        Args:
            model: its weights and buffers are compared.
            what: where in the training this is, for the message.

        Raises:
            RuntimeError: names the first that differs.
        """
        state = {name: tensor for name, tensor in model.state_dict().items() if tensor.numel()}
        sums = torch.stack([tensor.detach().double().sum() for tensor in state.values()]).to(self.device)
        found = self._every(sums)
        apart = ((found != found[0]) & ~(found.isnan() & found[0].isnan())).any(0).tolist()
        if any(apart):
            name = next(name for name, differs in zip(state, apart, strict=True) if differs)
            raise RuntimeError(
                f"{name} is not the same on all {self.size} devices {what}; the model keeps something of a batch that "
                "is no statistic of BatchNorm's, or its devices differ: train it on one (resources.training.devices)"
            )

    def wait(self) -> None:
        """Go on when all have come here."""
        self._total(torch.zeros(1))

    def _total(self, tensor: Tensor) -> Tensor:
        total = tensor.to(self.device)
        with _answered():
            dist.all_reduce(total)
        return total

    def _every(self, tensor: Tensor) -> Tensor:
        mine = tensor.to(self.device).contiguous()
        every = [torch.empty_like(mine) for _ in range(self.size)]
        with _answered():
            dist.all_gather(every, mine)
        return torch.stack(every)

    def _joined(self, rows: Tensor) -> Tensor:
        shapes = self._every(torch.tensor(rows.shape)).tolist()
        longest, wide = max(n for n, _ in shapes), max(c for _, c in shapes)
        padded = torch.zeros(longest, wide)
        padded[: rows.shape[0], : rows.shape[1]] = rows
        return torch.cat([part[:n] for part, (n, _) in zip(self._every(padded), shapes, strict=True)]).cpu()


@contextmanager
def group_of(rank: int, size: int, *, device: torch.device, meeting: Path, patience: float) -> Iterator[Group]:
    """Join the processes of this machine that train a model together.

    Args:
        rank: number of this process, from 0.
        size: how many there are.
        device: where it computes: a GPU of its own (they talk through NCCL), or the CPU (gloo).
        meeting: a file that is not there yet, whose name all know.
        patience: seconds after which a peer that does not answer is an error.

    Yields:
        The group, until all is done.

    Raises:
        Unanswered: by any call of the group, if a peer has ended or stands still for longer than that.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    waiting = timedelta(seconds=patience)
    with _answered():
        dist.init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=waiting)
    yield Group(rank, size, device)
    dist.destroy_process_group()  # not after an error: it would wait for peers that are not there


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise Unanswered(
            f"another of the processes that train together has ended or does not answer ({str(error).splitlines()[0]})"
        ) from error
