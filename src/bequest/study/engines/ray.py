"""Who carries out a plan on many machines? Ray: a task a step, as soon as its inputs are there.

The driver decides what is ready and counts what ended. Steps find their inputs by key in the store and publish there,
so nothing large passes through the driver, and what a lost worker had done up to its last epoch is still there when
its step is tried again. A worker holds the claim on its step: one that outlives its driver for a moment is waited for.
"""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bequest.study.engines.cluster import Cluster, cluster, fits
from bequest.study.engines.one_step import Ended, Outcome, Watcher, attempt, discard, enough, inputs_of, is_there
from bequest.study.engines.schedule import Schedule
from bequest.study.resources import Kind, Resources
from bequest.study.step import Context, Function, Step
from bequest.study.store import Store, StoreError

RETRIES = 3  # of a step whose worker or machine was lost
LOOKING = 1.0  # seconds between two looks at which steps have begun
TELLING = 30.0  # seconds between two lines on what is running
SHOWN = 8  # steps that such a line names
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # that Ray puts into its messages
SOUND: set[tuple[str, str]] = set()  # of this worker process: the inputs that it has compared with their hashes


@dataclass(frozen=True)
class Answer:
    """What a worker says of a step: how it ended, or that it could not be tried.

    Attributes:
        ended: how it ended; None if it was not tried.
        trouble: else why: an input is damaged, or the store cannot be used.
        damaged: the key of that input.
        message: of the trouble.
    """

    ended: Ended | None
    trouble: Literal["", "damaged", "store"] = ""
    damaged: str = ""
    message: str = ""


def run(
    steps: Sequence[Step],
    functions: Mapping[str, Function],
    store: Store,
    context: Context,
    watcher: Watcher,
    resources: Resources | None = None,
    address: str | None = None,
) -> Outcome:
    """Carry out steps on the machines of a Ray cluster, each when its inputs are there.

    Args:
        steps: with all that their inputs need among them.
        functions: what the names in the steps stand for; the machines must be able to import them.
        store: where results go; its folder is an absolute path that all machines see.
        context: device (`auto` or `cpu`) and workers.
        watcher: is told how it goes.
        resources: what steps ask for.
        address: of a cluster; None starts Ray on this machine, and only if there is something to do.

    Returns:
        What was done, was there, failed.

    Raises:
        StoreError: if the store cannot be written to.
        ValueError: if a machine does not see the store, or no machine has what a step asks for.
    """
    driver = _Driver(steps, functions, store, context, watcher, resources or Resources(), address)
    with ExitStack() as stack:
        try:
            driver.go(stack)
        finally:
            driver.stop()
    return driver.outcome


class _Driver:
    """What is running, what is lost, and what has to be done again."""

    def __init__(
        self,
        steps: Sequence[Step],
        functions: Mapping[str, Function],
        store: Store,
        context: Context,
        watcher: Watcher,
        resources: Resources,
        address: str | None,
    ) -> None:
        self.functions, self.store, self.context, self.watcher = functions, store, context, watcher
        self.resources, self.address = resources, address
        self.outcome, self.schedule = Outcome(), Schedule(steps)
        self.cluster: Cluster | None = None
        self.tasks: dict[tuple[Kind, int], Any] = {}
        self.running: dict[Any, Step] = {}
        self.begun: set[str] = set()
        self.lost: Counter[str] = Counter()
        self.spoiled: Counter[str] = Counter()
        self.renewed: set[str] = set()
        self.damaged: dict[str, list[Step]] = {}
        self.told = self.looked = time.monotonic()

    def go(self, stack: ExitStack) -> None:
        """Run until nothing is left."""
        while True:
            while free := self.schedule.free():
                for step in free:
                    self._begin(step, stack)
            if not self.running:
                return
            self._wait()
            self._renew()
            self._tell()

    def stop(self) -> None:
        """End what still runs, in a cluster that outlives this run."""
        if self.running:
            import ray

            for reference in self.running:
                ray.cancel(reference, force=True)

    def _begin(self, step: Step, stack: ExitStack) -> None:
        if is_there(step, self.store, self.renewed, self.watcher.says):
            self._ended(step, Ended("there"))
        elif not enough(step, inputs_of(step, self.store)):
            self._ended(step, Ended("left out"))
        else:
            if self.cluster is None:
                self.cluster = stack.enter_context(cluster(self.store.root, self.address, self.context.device))
            self._submit(step, self.cluster)

    def _submit(self, step: Step, machines: Cluster) -> None:
        import ray

        function = self.functions[step.function]
        devices = self.context.devices if function.splits else 1
        asked = machines.asks(function.kind, self.resources, devices)
        if (function.kind, devices) not in self.tasks:
            if lacking := fits(asked):
                raise ValueError(f"no machine has what resources.{function.kind} asks for: {lacking}")
            self.tasks[function.kind, devices] = ray.remote(max_retries=0, **asked)(perform)
        device = "cuda" if asked["num_gpus"] else "cpu"
        context = Context(device, self.context.workers, events=self.context.events, devices=devices)
        sent = (step.alone(), function, self.store.root, machines.sign, context, int(asked["num_cpus"]))
        self.running[self.tasks[function.kind, devices].remote(*sent)] = step

    def _wait(self) -> None:
        """Take in what has ended; wait a moment for it."""
        import ray

        ended, going = ray.wait(list(self.running), timeout=LOOKING)
        if ended and going:  # the others that have ended too
            more, _ = ray.wait(going, num_returns=len(going), timeout=0)
            ended += more
        for reference in ended:
            step = self.running.pop(reference)
            try:
                answer: Answer = ray.get(reference)
            except ray.exceptions.RayTaskError as error:  # it did not come as far as the step's function
                self._fail(step, error)
            except ray.exceptions.RayError as error:
                self._lose(step, error)
            else:
                self._take(step, answer)

    def _take(self, step: Step, answer: Answer) -> None:
        if answer.trouble == "store":
            raise StoreError(answer.message)
        if answer.trouble == "damaged":
            if answer.damaged not in self.damaged:
                self.spoiled[answer.damaged] += 1
                if self.spoiled[answer.damaged] > RETRIES:
                    raise StoreError(f"{answer.message}, though it was done {RETRIES} times again; is the disk sound?")
                self.watcher.says(f"{answer.message}; it is done again")
            self.damaged.setdefault(answer.damaged, []).append(step)
        elif answer.ended:
            self._ended(step, answer.ended)

    def _ended(self, step: Step, ended: Ended) -> None:
        if ended.how in ("done", "failed") and step.key not in self.begun:
            self.watcher.begins(step)
        self.begun.discard(step.key)
        self.outcome.add(step, ended, self.watcher)
        self.schedule.ended(step)

    def _lose(self, step: Step, error: Exception) -> None:
        self.lost[step.key] += 1
        what = f"{step.label}: its worker or machine was lost ({type(error).__name__})"
        if self.lost[step.key] > RETRIES or self.cluster is None:
            self._fail(step, error)
            return
        self.watcher.says(f"{what}; tried again, {self.lost[step.key]} of {RETRIES}")
        self._submit(step, self.cluster)

    def _fail(self, step: Step, error: Exception) -> None:
        cause = getattr(error, "cause", None) or error
        message = f"{type(cause).__name__}: {(str(cause).strip() or 'no reason given').splitlines()[0]}"
        text = COLOURS.sub("", "".join(traceback.format_exception(error)))
        if self.lost[step.key]:
            message = f"its worker or machine was lost {self.lost[step.key]} times; {message}"
        self.store.fail(step, {"message": message, "kind": type(error).__name__, "traceback": text})
        self._ended(step, Ended("failed", 0.0, message))

    def _renew(self) -> None:
        """Do damaged results again, as soon as no running step reads them."""
        for key, readers in list(self.damaged.items()):
            if any(needed.key == key for step in self.running.values() for needed in step.inputs.values()):
                continue
            for reader in readers:
                damaged = self.schedule.again(key, reader)
            discard(damaged, self.store, self.watcher.says)
            del self.damaged[key]

    def _tell(self) -> None:
        """Look which steps have begun, and say now and then how far they are."""
        now = time.monotonic()
        if now - self.looked < LOOKING:
            return
        self.looked, claims = now, self.store.claims()
        working = [(step, claims[step.key]) for step in self.running.values() if step.key in claims]
        for step, _ in working:
            if step.key not in self.begun:
                self.begun.add(step.key)
                self.watcher.begins(step)
        if now - self.told > TELLING:
            self.told = now
            shares = [f"{step.label} {claim.get('share', 0):.0%}" for step, claim in working[:SHOWN]]
            more = f" and {len(working) - SHOWN} more" if len(working) > SHOWN else ""
            waiting = f"{len(self.running) - len(working)} wait for a machine"
            self.watcher.says(f"running: {', '.join(shares) or 'nothing'}{more}; {waiting}")


def perform(step: Step, function: Function, root: Path, sign: Path, context: Context, threads: int) -> Answer:
    """Carry out a step on the machine that Ray chose for it.

    Args:
        step: the step, alone.
        function: what its name stands for.
        root: the folder of the store.
        sign: the driver's file in it.
        context: what it may use.
        threads: threads of torch and OpenMP.

    Returns:
        How it ended.
    """
    if not sign.is_file():  # this machine joined later, or the driver has gone
        return Answer(None, "store", message=f"{os.uname().nodename} does not see {root}; all machines must share it")
    _use_threads(threads)
    try:
        store = Store(root)
        for needed in step.inputs.values():
            if (str(sign), needed.key) not in SOUND and store.has(needed):
                if damage := store.damage(needed):
                    return Answer(None, "damaged", needed.key, damage)
                SOUND.add((str(sign), needed.key))
        inputs = inputs_of(step, store)
        if not enough(step, inputs):
            return Answer(Ended("left out"))
        return Answer(attempt(step, function, inputs, store, context, _quiet))
    except StoreError as error:
        return Answer(None, "store", message=str(error))


def _use_threads(count: int) -> None:
    """Compute with so many threads: Ray sets them for the first step of a worker only."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def _quiet(text: str) -> None:
    """Say nothing: nobody reads what a worker prints."""
