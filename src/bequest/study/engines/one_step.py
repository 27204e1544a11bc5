"""What happens to one step, whoever carries it out: is its result there, are its inputs, how did it end?"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from bequest.study.provenance import provenance
from bequest.study.pulse import pulse
from bequest.study.step import Context, Function, Step
from bequest.study.store import FULL, Artefact, Store, StoreError, told

How = Literal["done", "there", "failed", "left out"]
GLANCE = 0.2  # seconds between two looks at a step that another process works on


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


@dataclass(frozen=True)
class Ended:
    """How a step ended.

    Attributes:
        how: done, there (nothing was to do), failed, or left out (an input failed).
        seconds: how long it took.
        message: of a failure.
    """

    how: How
    seconds: float = 0.0
    message: str = ""


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

    def add(self, step: Step, ended: Ended, watcher: Watcher) -> None:
        """Count a step that ended, and tell of it."""
        if ended.how == "done":
            self.done[step.label] = ended.seconds
        elif ended.how == "there":
            self.there.append(step.label)
        elif ended.how == "failed":
            self.failed[step.label] = ended.message
        else:
            self.left_out.append(step.label)
        watcher.ends(step, ended.how, ended.seconds)


def is_there(step: Step, store: Store, renewed: set[str], says: Callable[[str], None]) -> bool:
    """Tell whether a result is there and can stay; one that is damaged or outdated is removed.

    Args:
        step: all of its inputs have ended.
        store: where results are.
        renewed: keys of the steps whose results were removed because of newer inputs; added to.
        says: is told of damage.

    Returns:
        Whether nothing is to do.
    """
    if any(needed.key in renewed for needed in step.inputs.values()):
        renewed.add(step.key)
        discard(step, store, says)  # and what an interrupted try left: it began from other inputs
    elif damage := store.damage(step, quickly=True):
        says(f"{damage}; {step.label} is done again")
        discard(step, store, says)
    elif store.has(step) and _outdated(step, store):
        renewed.add(step.key)
        discard(step, store, says)
    return store.has(step)


def discard(step: Step, store: Store, says: Callable[[str], None]) -> None:
    """Remove a result and what was begun, when no process works on it any more."""
    with store.claim(step, patiently(step, says)):
        store.discard(step)


def enough(step: Step, inputs: Mapping[str, object]) -> bool:
    """Tell whether the inputs that are there are enough to go on; a step that tolerates all (`""`) needs none."""
    missing = step.inputs.keys() - inputs.keys()
    if not step.tolerant:
        return not missing
    first = step.tolerant[0]
    kept = not first or any(name.startswith(first) for name in inputs)
    return kept and all(name.startswith(step.tolerant) for name in missing)


def inputs_of(step: Step, store: Store) -> dict[str, Artefact]:
    """Give the inputs that are there, by the names under which the step reads them."""
    return {name: store.open(given) for name, given in step.inputs.items() if store.has(given)}


def attempt(
    step: Step,
    function: Function,
    inputs: Mapping[str, Artefact],
    store: Store,
    context: Context,
    says: Callable[[str], None],
) -> Ended:
    """Carry out a step and publish its result, unless another process has done so by the time it is its turn.

    Args:
        step: what to do.
        function: what its name stands for.
        inputs: its inputs, enough and intact.
        store: where the result goes; a failure leaves its traceback there.
        context: what it may use.
        says: is told when another process works on this step.

    Returns:
        How it ended.

    Raises:
        StoreError: if the store cannot be written to; nothing else is raised.
    """
    began = time.perf_counter()
    try:
        with store.claim(step, patiently(step, says)) as claim:
            if store.has(step):
                return Ended("there")

            def tell(share: float) -> None:
                claim.share = share
                context.tell(share)

            _carry_out(step, function, inputs, store, replace(context, tell=tell))
    except StoreError:
        raise
    except Exception as error:
        seconds = time.perf_counter() - began
        message = f"{error}" or type(error).__name__
        store.fail(step, {"message": message, "kind": type(error).__name__, "traceback": traceback.format_exc()})
        return Ended("failed", seconds, message)
    return Ended("done", time.perf_counter() - began)


def patiently(step: Step, says: Callable[[str], None]) -> Callable[[str], None]:
    """Make what waits until another process leaves a step, and says so once."""
    told_of: list[str] = []

    def wait(holder: str) -> None:
        if not told_of:
            says(f"{step.label}: {holder} works on it; waiting for that")
            told_of.append(holder)
        time.sleep(GLANCE)

    return wait


def _outdated(step: Step, store: Store) -> bool:
    """Tell whether a result was made without an input that is there now."""
    lacked = store.open(step).json("provenance").get("inputs_that_failed", ()) if step.tolerant else ()
    return any(name in step.inputs and store.has(step.inputs[name]) for name in lacked)


def _carry_out(step: Step, function: Function, inputs: Mapping[str, Artefact], store: Store, context: Context) -> None:
    began = time.perf_counter()
    context = context if function.splits else replace(context, devices=1)
    scratch = store.scratch(step)
    with told(store.root, FULL), pulse(scratch, context.device, context.tell) as tell:
        function.run(scratch, {**step.arguments, **step.places}, inputs, context.of(step, tell))
    missing = sorted(step.inputs.keys() - inputs.keys())
    where = provenance(context.device, time.perf_counter() - began, context.devices)
    store.publish(step, where | {"inputs_that_failed": missing})
