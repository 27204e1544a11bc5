"""Who carries out a plan on this machine? This process, one step after another.

What is there is not done again; what failed is written down and the rest goes on. A damaged input is found before it is
read, and made again.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bequest.study.provenance import provenance
from bequest.study.pulse import pulse
from bequest.study.step import Context, Function, Step
from bequest.study.store import FULL, Artefact, Store, StoreError, told


class Watcher(Protocol):
    """Is told how a run goes."""

    def begins(self, step: Step) -> None:
        """A step begins."""

    def goes_on(self, share: float) -> None:
        """The running step is done to this share, 0..1."""

    def ends(self, step: Step, outcome: str, seconds: float) -> None:
        """A step ended: done, there, failed, or left out."""

    def says(self, text: str) -> None:
        """Something the user should know."""


@dataclass
class Outcome:
    """How a run of a plan ended.

    Attributes:
        done: steps carried out, with their seconds.
        there: steps whose results were there.
        failed: steps that failed, with the message.
        left_out: steps that could not start because an input failed.
    """

    done: dict[str, float] = field(default_factory=dict)
    there: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def run(
    steps: Sequence[Step], functions: Mapping[str, Function], store: Store, context: Context, watcher: Watcher
) -> Outcome:
    """Carry out steps in order.

    Args:
        steps: each after its inputs.
        functions: what the names in the steps stand for.
        store: where results go.
        context: device and workers.
        watcher: is told how it goes.

    Returns:
        What was done, was there, failed.
    """
    outcome = Outcome()
    sound: set[str] = set()
    renewed: set[str] = set()
    for step in steps:
        if any(needed.key in renewed for needed in step.inputs.values()):
            renewed.add(step.key)
            store.discard(step)  # and what an interrupted try left: it began from other inputs
        elif store.has(step) and (damage := store.open(step).intact(quickly=True)):
            watcher.says(f"{damage}; {step.label} is done again")
            store.discard(step)
        elif store.has(step) and _outdated(step, store):
            renewed.add(step.key)
            store.discard(step)
        if store.has(step):
            outcome.there.append(step.label)
            watcher.ends(step, "there", 0.0)
        else:
            _do(step, functions, store, context, watcher, outcome, sound)
    return outcome


def _outdated(step: Step, store: Store) -> bool:
    """Tell whether a result was made without an input that is there now."""
    lacked = store.open(step).json("provenance")["inputs_that_failed"] if step.tolerant else []
    return any(name in step.inputs and store.has(step.inputs[name]) for name in lacked)


def _enough(step: Step, inputs: Mapping[str, Artefact]) -> bool:
    """Tell whether the inputs that are there are enough to go on."""
    missing = step.inputs.keys() - inputs.keys()
    if not step.tolerant:
        return not missing
    first = step.tolerant[0]
    return all(name.startswith(step.tolerant) for name in missing) and any(name.startswith(first) for name in inputs)


def _do(
    step: Step,
    functions: Mapping[str, Function],
    store: Store,
    context: Context,
    watcher: Watcher,
    outcome: Outcome,
    sound: set[str],
) -> None:
    for input_step in step.inputs.values():
        if input_step.key in sound or not store.has(input_step):
            continue
        damage = store.open(input_step).intact()
        if damage:
            watcher.says(f"{damage}; {input_step.label} is done again")
            store.discard(input_step)
            _do(input_step, functions, store, context, watcher, outcome, sound)
        sound.add(input_step.key)
    inputs = {name: store.open(given) for name, given in step.inputs.items() if store.has(given)}
    if not _enough(step, inputs):
        outcome.left_out.append(step.label)
        watcher.ends(step, "left out", 0.0)
        return
    watcher.begins(step)
    began = time.perf_counter()
    try:
        _carry_out(step, functions[step.function], inputs, store, context, watcher)
    except StoreError:
        raise
    except Exception as error:
        seconds = time.perf_counter() - began
        message = f"{error}" or type(error).__name__
        store.fail(step, {"message": message, "kind": type(error).__name__, "traceback": traceback.format_exc()})
        outcome.failed[step.label] = message
        watcher.ends(step, "failed", seconds)
        return
    seconds = time.perf_counter() - began
    outcome.done[step.label] = seconds
    sound.add(step.key)
    watcher.ends(step, "done", seconds)


def _carry_out(
    step: Step,
    function: Function,
    inputs: Mapping[str, Artefact],
    store: Store,
    context: Context,
    watcher: Watcher,
) -> None:
    began = time.perf_counter()
    scratch = store.scratch(step)
    with told(store.root, FULL), pulse(scratch, context.device, watcher.goes_on) as tell:
        function.run(scratch, {**step.arguments, **step.places}, inputs, context.of(step, tell))
    missing = sorted(step.inputs.keys() - inputs.keys())
    store.publish(step, provenance(context.device, time.perf_counter() - began) | {"inputs_that_failed": missing})
