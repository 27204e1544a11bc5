"""Who carries out a plan on this machine? This process, one step after another.

What is there is not done again; what failed is written down and the rest goes on. A damaged input is found before it is
read, and made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bequest.study.engines.one_step import Ended, Outcome, Watcher, attempt, discard, enough, inputs_of, is_there
from bequest.study.step import Context, Function, Step
from bequest.study.store import Store


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
        if is_there(step, store, renewed, watcher.says):
            outcome.add(step, Ended("there"), watcher)
        else:
            _do(step, functions, store, context, watcher, outcome, sound)
    return outcome


def _do(
    step: Step,
    functions: Mapping[str, Function],
    store: Store,
    context: Context,
    watcher: Watcher,
    outcome: Outcome,
    sound: set[str],
) -> None:
    for needed in step.inputs.values():
        if needed.key in sound or not store.has(needed):
            continue
        if damage := store.damage(needed):
            watcher.says(f"{damage}; {needed.label} is done again")
            discard(needed, store, watcher.says)
            _do(needed, functions, store, context, watcher, outcome, sound)
        sound.add(needed.key)
    inputs = inputs_of(step, store)
    if not enough(step, inputs):
        outcome.add(step, Ended("left out"), watcher)
        return
    watcher.begins(step)
    context = replace(context, tell=watcher.goes_on)
    ended = attempt(step, functions[step.function], inputs, store, context, watcher.says)
    if ended.how == "done":
        sound.add(step.key)
    outcome.add(step, ended, watcher)
