"""Which calls of a forward pass are over when a module starts?

A forward pass is a tree of module calls. What is done before a module starts can be left out when only that module
changes: the outermost finished calls give back what they gave, and what lies between calls still runs. Nothing of the
model's source is read; a module that is called twice is two calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bequest.evaluation.batches import Inputs, forward

Handle = Callable[[int, Callable[[], Any]], Any]  # number of the call, what runs it -> its output


@dataclass(frozen=True)
class Call:
    """One call of a submodule.

    Attributes:
        module: what was called.
        begin: when it started, counted in starts and ends of calls.
        end: when it was done.
        parent: number of the call that it is part of; -1 for the network itself.
        work: multiplications in it.
    """

    module: nn.Module
    begin: int
    end: int
    parent: int
    work: int = 0


def record(model: nn.Module, inputs: Inputs) -> tuple[list[Call], int]:
    """Run a model once, list the calls of its submodules and count multiplications.

    Args:
        model: any network; hooks are taken away again.
        inputs: of one batch.

    Returns:
        The calls in order of their start, and the multiplications of the whole pass.
    """
    calls: list[Call] = []
    open_calls: list[tuple[int, int, int]] = []  # number, begin, multiplications before
    clock, counter = 0, FlopCounterMode(display=False)

    def enter(module: nn.Module, arguments: Any) -> None:
        nonlocal clock
        parent = open_calls[-1][0] if open_calls else -1
        open_calls.append((len(calls), clock, counter.get_total_flops()))
        calls.append(Call(module, clock, -1, parent))
        clock += 1

    def leave(module: nn.Module, arguments: Any, outputs: Any) -> None:
        nonlocal clock
        number, begin, before = open_calls.pop()
        calls[number] = Call(module, begin, clock, calls[number].parent, counter.get_total_flops() - before)
        clock += 1

    handles = []
    try:
        for module in model.modules():
            if module is not model:
                handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        with counter:
            forward(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls, counter.get_total_flops()


def finished_before(calls: Sequence[Call], module: nn.Module) -> tuple[int, ...] | None:
    """Give the outermost calls that are over when a module is first called.

    Args:
        calls: of one forward pass.
        module: the module in question.

    Returns:
        Their numbers in order; None if the module is never called.
    """
    start = min((call.begin for call in calls if call.module is module), default=None)
    if start is None:
        return None
    done = {number for number, call in enumerate(calls) if call.end < start}
    return tuple(number for number in sorted(done) if calls[number].parent not in done)


def remaining(calls: Sequence[Call], skipped: Collection[int]) -> dict[nn.Module, list[int]]:
    """Give the calls that still happen, by module in order, when some are left out with all that they contain."""
    found: dict[nn.Module, list[int]] = {}
    gone: set[int] = set()
    for number, call in enumerate(calls):
        if call.parent in gone or call.parent in skipped:
            gone.add(number)
        else:
            found.setdefault(call.module, []).append(number)
    return found


@contextmanager
def intercepted(
    happening: Mapping[nn.Module, Sequence[int]], handle: Handle, numbers: Collection[int]
) -> Iterator[None]:
    """Let a function answer for some calls of the forward pass run inside.

    Args:
        happening: the calls that will happen, by module in order, as `remaining` gives them.
        handle: gets the number of a call and what would run it, and gives the output.
        numbers: the calls that it answers for.

    Yields:
        Nothing; each module has its own `forward` back on exit.
    """
    wanted = set(numbers)
    replaced: list[tuple[nn.Module, Any]] = []

    def stand_in(own: Callable[..., Any], order: Sequence[int]) -> Callable[..., Any]:
        coming = iter(order)

        def answer(*arguments: Any, **named: Any) -> Any:
            number = next(coming, None)
            if number is None:
                raise LookupError("the modules were called more often than in the recorded forward pass")
            return handle(number, lambda: own(*arguments, **named)) if number in wanted else own(*arguments, **named)

        return answer

    try:
        for module, order in happening.items():
            if wanted.intersection(order):
                replaced.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = stand_in(module.forward, order)
        yield
    finally:
        for module, own in replaced:
            if own is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = own
