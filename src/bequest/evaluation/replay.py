"""What comes out of a network when one module changes, without running what stands before it?

For each module and batch, the outputs of the calls that are over when the module starts are kept (`calls.py`), and a
replay hands them back in place of running them. Of these, only those that something later reads are held: the others
are stand-ins of NaN that take no memory; if one were read after all, the check below would see it.

The check, once per model and module: on a few examples, with the module's weights changed by noise, the replay must
give what the whole forward gives, bit for bit or within `TOLERANCE` of the largest output. A module that fails (shared
state, a branch that bypasses it, a parameter used earlier than its module, random layers) is always run in full;
`Replay.whole` names it.

Memory: `hold` keeps as many batches as fit into `cache_bytes`, inputs and kept outputs counted; others run in full.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from bequest.evaluation.batches import Batches, Inputs, device_of, examples, first_examples, forward, logits, walk
from bequest.evaluation.calls import Call, finished_before, intercepted, record, remaining
from bequest.evaluation.keeping import can_stand_in, copied, held_bytes, identical, stand_in
from bequest.weights.algebra import mixable
from bequest.weights.modules import Module

TOLERANCE = 1e-5  # of the largest output; float32 kernels that see another layout differ by less (measured: 0)
CHECKED = 2  # examples of the check (chosen)
NOISE = 0.05  # of a tensor's root mean square, in the check (chosen): visible, and the network stays in its range


class _ReachedError(Exception):
    """The forward pass has come to the module before which it stops."""


@dataclass(frozen=True)
class _Way:
    """How a replay gets to a module: the calls left out, those whose output is read later, those overwritten later."""

    module: nn.Module
    skipped: tuple[int, ...]
    needed: frozenset[int]
    overwritten: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Prefix:
    """A batch, run up to where a module starts.

    Attributes:
        inputs: of the batch, on the model's device.
        targets: of the batch.
        unit: name of the module; None at the very beginning.
        values: number of a call -> its output.
    """

    inputs: Inputs
    targets: Tensor
    unit: str | None = None
    values: Mapping[int, Any] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(held_bytes(value) for value in (self.inputs, *self.values.values()))


class Replay:
    """Runs a model from one of its modules on; for use inside `applied` or `preserved`.

    The weights in the model when it is made, and whenever `advance` or `hold` run, are the clean ones. In between the
    caller changes the weights of the module that the prefix stands at, and of no other before it.

    Attributes:
        whole: names of the modules that are always run in full.
        shares: module -> share of a forward pass (in multiplications) that a replay from it takes.
        examples: in all batches; 0 before the first whole walk.
    """

    def __init__(
        self, model: nn.Module, units: Sequence[Module], batches: Batches, *, cache_bytes: int = 2**30, seed: int = 0
    ) -> None:
        """Record one forward pass and check every module.

        Args:
            model: any network, in evaluation mode.
            units: the modules to replay from, in order of execution.
            batches: (inputs, targets) that can be walked again, the same each time.
            cache_bytes: bound on what `hold` keeps.
            seed: of the noise in the check.
        """
        self.model, self.batches, self.cache_bytes = model, batches, cache_bytes
        self.examples = 0
        self._run_examples = 0.0
        self._units = {unit.name: unit for unit in units}
        self._held: list[Prefix | None] = []
        self._unit: str | None = None
        self._count = 0
        self._ways: dict[str, _Way | None] = {}
        self.shares = dict.fromkeys(self._units, 1.0)
        with torch.no_grad():
            inputs, _ = next(iter(walk(batches)))
            self._plan(first_examples(inputs, CHECKED), torch.Generator().manual_seed(seed))
        self._run_examples = 0.0
        self.whole = tuple(name for name, way in self._ways.items() if way is None)

    @property
    def passes(self) -> float:
        """Forward passes over all batches so far; a replay counts by its share. The check is not counted."""
        return self._run_examples / self.examples if self.examples else 0.0

    # ---- one batch ----

    def prefixes(self) -> Iterator[Prefix]:
        """Give each batch at its very beginning."""
        count = 0
        for inputs, targets in walk(self.batches):
            count += examples(inputs)
            self.examples = max(self.examples, count)
            yield Prefix(self._here(inputs), targets)

    def advance(self, prefix: Prefix, unit: str) -> Prefix:
        """Run a batch on, with the clean weights, up to where a module starts.

        Args:
            prefix: the batch, anywhere before the module.
            unit: name of the module.

        Returns:
            The batch there; at its very beginning if the module is one of `whole`.
        """
        way = self._ways[unit]
        if way is None:
            return Prefix(prefix.inputs, prefix.targets)
        old = self._way(prefix)
        if old is not None and not (way.needed & set(old.skipped)) <= old.needed:
            prefix, old = Prefix(prefix.inputs, prefix.targets), None  # what was let go is read again
        self._run_examples += examples(prefix.inputs) * max(0.0, self._share(prefix) - self.shares[unit])
        with torch.no_grad():
            return Prefix(prefix.inputs, prefix.targets, unit, self._reach(prefix, way))

    def run(self, prefix: Prefix) -> Any:
        """Run a batch to the end with the weights that are in the model now.

        Args:
            prefix: the batch; nothing before the module that it stands at may have changed.

        Returns:
            What the model gives.
        """
        self._run_examples += examples(prefix.inputs) * self._share(prefix)
        way = self._way(prefix)
        if way is None:
            return forward(self.model, prefix.inputs)

        def give(number: int, _run: Any) -> Any:
            value = prefix.values[number]
            return copied(value) if number in way.overwritten else value

        with intercepted(remaining(self._calls, way.skipped), give, way.skipped):
            return forward(self.model, prefix.inputs)

    # ---- all batches ----

    def hold(self, unit: str) -> None:
        """Bring all batches to where a module starts, and keep those that fit; the clean weights are in the model.

        Args:
            unit: name of the module; anywhere in the order, cheapest after the one held before.
        """
        if self._unit is None:
            self._held = [None] * sum(1 for _ in walk(self.batches))
        budget, kept = self.cache_bytes, list(self._held)
        self._held = []
        source = self.prefixes() if any(prefix is None for prefix in kept) else None
        with torch.inference_mode():
            for place in range(len(kept)):
                fresh = next(source) if source is not None else None
                start, kept[place] = kept[place] or fresh, None
                assert start is not None
                if not self._comes_before(start.unit, unit):
                    start = Prefix(start.inputs, start.targets)
                fits = start.size <= budget  # at least the inputs: else there is no point in running it
                prefix = self.advance(start, unit) if fits else None
                if prefix is not None and prefix.size <= budget:
                    budget -= prefix.size
                    self._held.append(prefix)
                else:
                    self._held.append(None)
        self._unit = unit

    def held(self) -> Iterator[Prefix]:
        """Give all batches where `hold` brought them; those that did not fit are at their beginning.

        Yields:
            The batches in order.

        Raises:
            ValueError: if the batches are not the same as before.
        """
        if all(prefix is not None for prefix in self._held):
            yield from (prefix for prefix in self._held if prefix is not None)
            return
        for kept, fresh in zip(self._held, self.prefixes(), strict=True):
            if kept is not None and not torch.equal(kept.targets, fresh.targets):
                raise ValueError("the batches are not the same on every walk: give them without shuffling")
            yield fresh if kept is None else kept

    def one(self, number: int) -> Prefix:
        """Give one of the batches where `hold` brought it; one that did not fit is looked for in a new walk.

        Args:
            number: its place in the order.

        Returns:
            The batch.
        """
        kept = self._held[number]
        return kept if kept is not None else next(islice(self.held(), number, None))

    def __len__(self) -> int:
        """How many batches there are; 0 before `hold`."""
        return len(self._held)

    def _share(self, prefix: Prefix) -> float:
        return 1.0 if prefix.unit is None else self.shares[prefix.unit]

    # ---- planning ----

    def _plan(self, inputs: Inputs, generator: torch.Generator) -> None:
        inputs = self._here(inputs)
        start = Prefix(inputs, torch.empty(0))
        calls, total = record(self.model, inputs)
        self._calls: list[Call] = calls
        for name, unit in self._units.items():
            try:
                way = self._ways[name] = self._checked(unit, start, generator)
            except Exception:  # whatever goes wrong in a replay: the whole forward always works
                way = self._ways[name] = None
            if way is not None and total:
                self.shares[name] = 1 - sum(calls[number].work for number in way.skipped) / total

    def _checked(self, unit: Module, start: Prefix, generator: torch.Generator) -> _Way | None:
        """Find the way to a module that gives what the whole forward gives; None if there is none."""
        module = self.model.get_submodule(unit.name)
        skipped = finished_before(self._calls, module)
        if skipped is None:
            return None
        values = self._reach(start, _Way(module, skipped, frozenset(skipped)))
        with _shaken(self.model, unit, generator):
            expected = logits(forward(self.model, start.inputs))

            def works(needed: Collection[int], overwritten: frozenset[int] = frozenset()) -> bool:
                self._ways[unit.name] = _Way(module, skipped, frozenset(needed), overwritten)
                held = {n: copied(v) if n in needed else stand_in(v) for n, v in values.items()}
                outputs = logits(self.run(Prefix(start.inputs, start.targets, unit.name, held)))
                written.update(n for n in needed if not identical(values[n], held[n]))
                return _same(outputs, expected)

            def enough(needed: Collection[int]) -> bool:
                try:
                    return works(needed, overwritten)
                except Exception:  # stand-ins cannot be written to, and some code asks more of a tensor than its shape
                    return False

            written: set[int] = set()  # what follows writes to these: they have to be handed out as copies
            if not works(skipped):
                return None
            overwritten = frozenset(written)
            needed = {n for n in skipped if not can_stand_in(values[n])} | set(skipped[-1:])
            if not enough(needed):
                needed = set(skipped)
                for number in filter(lambda n: can_stand_in(values[n]), skipped):
                    needed -= {number} if enough(needed - {number}) else set()
                if not enough(needed):
                    return None
            return _Way(module, skipped, frozenset(needed), overwritten)

    def _reach(self, prefix: Prefix, way: _Way) -> dict[int, Any]:
        """Run on until the module starts, and give the outputs of what is over then."""
        old = self._way(prefix)
        before = prefix.values if old is not None else {}
        found = {number: before[number] for number in way.skipped if number in before}
        numbers = [number for number in way.skipped if number not in before]
        happening = remaining(self._calls, before)
        goal = next((number for number in happening.get(way.module, ()) if number not in before), -1)

        def handle(number: int, run: Any) -> Any:
            if number == goal:
                raise _ReachedError
            if number in before:
                return copied(before[number]) if old and number in old.overwritten else before[number]
            outputs = run()
            found[number] = copied(outputs) if number in way.needed else stand_in(outputs)
            return outputs

        try:
            with intercepted(happening, handle, [*before, *numbers, goal]):
                forward(self.model, prefix.inputs)
        except _ReachedError:
            return {n: found[n] if n in way.needed else stand_in(found[n]) for n in way.skipped}
        raise LookupError("the forward pass ended without coming to the module")

    def _way(self, prefix: Prefix) -> _Way | None:
        return None if prefix.unit is None else self._ways[prefix.unit]

    def _comes_before(self, one: str | None, other: str) -> bool:
        names = list(self._units)
        return one is None or names.index(one) <= names.index(other)

    def _here(self, inputs: Inputs) -> Inputs:
        device = device_of(self.model)
        if isinstance(inputs, Mapping):
            return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}
        return inputs.to(device)


@contextmanager
def _shaken(model: nn.Module, unit: Module, generator: torch.Generator) -> Iterator[None]:
    """Add noise to the weights of one module, and take it away again."""
    state = model.state_dict(keep_vars=True)
    live = {name: state[name].detach() for name in (*unit.parameters, *unit.buffers) if name in state}
    before = {name: tensor.clone() for name, tensor in live.items()}
    try:
        for name in unit.parameters:
            tensor = live[name]
            if mixable(tensor):
                size = float(tensor.abs().square().mean().sqrt()) or 1.0
                noise = torch.randn(tensor.shape, generator=generator).to(device=tensor.device, dtype=tensor.dtype)
                tensor.add_(noise, alpha=NOISE * size)
        yield
    finally:
        for name, tensor in live.items():
            tensor.copy_(before[name])


def _same(replayed: Tensor, whole: Tensor) -> bool:
    """Tell whether two outputs agree within the tolerance; NaN only where the other has it, too."""
    if replayed.shape != whole.shape:
        return False
    largest = float(whole.abs().nan_to_num().max()) if whole.numel() else 0.0
    return torch.equal(replayed, whole) or torch.allclose(
        replayed, whole, rtol=0.0, atol=TOLERANCE * largest, equal_nan=True
    )
