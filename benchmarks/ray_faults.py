"""What is lost when workers, machines and drivers are killed at random moments?

    python benchmarks/ray_faults.py --nodes 10 --workers 10 --drivers 20

A small study is carried out undisturbed; then again and again while something is killed: a node of a Ray cluster of
three on this machine, a worker in the middle of a step, the driver (with both engines), always without warning. Counted
are the runs that end, the rows that differ, whole results that were made again, and steps that two processes worked on
at once. Every function of the study is watched for that by a lock of its own, which knows nothing of the store's.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from bequest.study.claim import read
from bequest.study.step import Context, Run
from bequest.study.store import Artefact

STUDY = """\
name: faults
model: resnet8
size: 16
source: {data: [digits], recipe: {epochs: 3, batch_size: 256, learning_rate: 0.1}}
targets: {handwriting: {data: digits, shots: 2}}
arms:
  replicas: 3
  learning_rates: {}
  recipe: {epochs: 10, batch_size: 10, augmentation: crop}
analyses: {learning_curves: , distance: }
"""
PATIENCE = 900  # seconds for a run
MEMORY = 100 * 2**20


@dataclass
class Counts:
    """What was seen of one kind of fault."""

    kills: int = 0
    studies: int = 0
    runs: int = 0
    ended: int = 0
    differing_tables: int = 0
    whole_made_again: int = 0
    at_once: int = 0
    tried_again: int = 0
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Watched:
    """A function of the study that says when it begins and ends, and whether another process is in it too."""

    run: Run
    log: Path

    def __call__(
        self, folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context
    ) -> None:
        with (self.log / folder.name).open("a") as lines:
            try:
                fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lines.write(f"at-once {os.getpid()}\n")
                lines.flush()
            lines.write(f"begin {os.getpid()}\n")
            lines.flush()
            self.run(folder, arguments, inputs, context)
            lines.write(f"end {os.getpid()}\n")


def drive(folder: Path, engine: str, address: str | None) -> int:
    """Carry out the study, watched; a process of its own, to be killed."""
    from bequest.report import session
    from bequest.study.reading import read_study

    log = folder.with_name(f"{folder.name} log")
    log.mkdir(exist_ok=True)
    watched = {name: replace(known, run=Watched(known.run, log)) for name, known in session.FUNCTIONS.items()}
    session.FUNCTIONS.update(watched)
    return session.carry_out(read_study(folder.parent / "study.yaml"), folder, "cpu", 1, engine, address)


class Trial:
    """One study in one folder, carried out by processes that may be killed."""

    def __init__(self, folder: Path, engine: str, address: str | None = None) -> None:
        self.folder, self.engine, self.address = folder, engine, address
        self.whole: dict[str, bytes] = {}
        self.made_again: set[str] = set()

    def begin(self) -> subprocess.Popen[str]:
        words = [sys.executable, __file__, "--drive", str(self.folder), "--engine", self.engine]
        words += ["--address", self.address] if self.address else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)

    def look(self) -> None:
        """Note which results are whole; one that was and is another now was made again."""
        for file in (self.folder / "steps").glob("*/provenance.json"):
            if not (file.parent / "manifest.json").is_file():
                continue
            content = file.read_bytes()
            if self.whole.setdefault(file.parent.name, content) != content:
                self.made_again.add(file.parent.name)

    def working(self) -> list[dict[str, Any]]:
        """Give the claims of steps that are being worked on."""
        claims = self.folder / "claims"
        return [claim for path in claims.glob("*") if (claim := read(path))] if claims.is_dir() else []

    def count(self, counts: Counts, expected: Mapping[str, pl.DataFrame]) -> None:
        """Add what came out to the counts."""
        self.look()
        found = tables(self.folder)
        counts.differing_tables += sum(
            key not in found or not table.equals(found[key]) for key, table in expected.items()
        )
        counts.whole_made_again += len(self.made_again)
        lines = [path.read_text().splitlines() for path in self.folder.with_name(f"{self.folder.name} log").iterdir()]
        counts.at_once += sum(line.startswith("at-once") for each in lines for line in each)
        counts.tried_again += sum(max(0, sum(line.startswith("begin") for line in each) - 1) for each in lines)


def tables(folder: Path) -> dict[str, pl.DataFrame]:
    return {path.parent.name: pl.read_parquet(path) for path in (folder / "steps").glob("*/rows.parquet")}


def finish(process: subprocess.Popen[str], counts: Counts) -> None:
    """Wait for a run that is left alone from here, and count it if it ends well."""
    said, _ = process.communicate(timeout=PATIENCE)
    if process.returncode == 0:
        counts.ended += 1
    else:
        print(said)


def when_working(trial: Trial, process: subprocess.Popen[str], moments: random.Random, longest: float) -> bool:
    """Wait until a step is being worked on, and a random moment more; whether the run still goes on then."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and not trial.working() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(moments.uniform(0, longest))
    trial.look()
    return process.poll() is None


def drivers(place: Path, engine: str, kills: int, expected: Mapping[str, pl.DataFrame], seed: int) -> Counts:
    """Kill the driver; the same command again goes on."""
    counts, moments = Counts(), random.Random(seed)
    while counts.kills < kills:
        trial = Trial(place / f"driver {engine} {counts.studies}", engine)
        counts.studies += 1
        while True:
            process, begin = trial.begin(), time.monotonic()
            counts.runs += 1
            if counts.kills < kills and when_working(trial, process, moments, 4.0):
                process.send_signal(signal.SIGKILL)
                process.communicate()
                counts.kills += 1
                continue
            finish(process, counts)
            counts.seconds.append(round(time.monotonic() - begin, 1))
            break
        trial.count(counts, expected)
    return counts


def on_cluster(place: Path, what: str, kills: int, expected: Mapping[str, pl.DataFrame], seed: int) -> Counts:
    """Kill workers, or remove nodes and add new ones, while a driver goes on; at most two a study."""
    counts, moments = Counts(), random.Random(seed)
    with three_nodes() as nodes:
        while counts.kills < kills:
            trial = Trial(place / f"{what} {counts.studies}", "ray", nodes.address)
            counts.studies += 1
            counts.runs += 1
            process, begin = trial.begin(), time.monotonic()
            for _ in range(2):
                if counts.kills == kills or not when_working(trial, process, moments, 5.0):
                    break
                counts.kills += kill_worker(trial, moments) if what == "worker" else remove_node(nodes, moments)
            finish(process, counts)
            counts.seconds.append(round(time.monotonic() - begin, 1))
            trial.count(counts, expected)
    return counts


def kill_worker(trial: Trial, moments: random.Random) -> int:
    working = trial.working()
    if not working:
        return 0
    try:
        os.kill(moments.choice(working)["process"], signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def remove_node(nodes: Any, moments: random.Random) -> int:
    nodes.remove_node(moments.choice(sorted(nodes.worker_nodes, key=lambda node: node.unique_id)), allow_graceful=False)
    nodes.add_node(num_cpus=1, object_store_memory=MEMORY, wait=False)
    nodes.wait_for_nodes(timeout=PATIENCE)
    return 1


@contextmanager
def three_nodes() -> Iterator[Any]:
    """A cluster of a head without processors, where the driver is, and two nodes with one each."""
    from ray.cluster_utils import Cluster

    each = {"object_store_memory": MEMORY, "wait": False}
    nodes = Cluster(initialize_head=True, head_node_args={**each, "num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        nodes.add_node(**each, num_cpus=1)
    try:
        nodes.wait_for_nodes(timeout=PATIENCE)
        yield nodes
    finally:
        nodes.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=10, help="nodes to remove")
    parser.add_argument("--workers", type=int, default=10, help="workers to kill")
    parser.add_argument("--drivers", type=int, default=20, help="drivers to kill, with each engine")
    parser.add_argument("--seed", type=int, default=2020, help="of the moments")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--engine", default="local", help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        return drive(options.drive, options.engine, options.address)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    good = True
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "study.yaml").write_text(STUDY)
        undisturbed, counts = Trial(place / "undisturbed", "local"), Counts(studies=1, runs=1)
        finish(undisturbed.begin(), counts)
        expected = tables(undisturbed.folder)
        print(f"undisturbed: {len(expected)} tables", flush=True)
        for name, kills in (("node", options.nodes), ("worker", options.workers)):
            if kills:
                good &= tell(f"{name}s, ray", on_cluster(place, name, kills, expected, options.seed))
        for engine in ("local", "ray"):
            if options.drivers:
                good &= tell(f"drivers, {engine}", drivers(place, engine, options.drivers, expected, options.seed))
    return 0 if good else 1


def tell(name: str, counts: Counts) -> bool:
    """Print the counts; whether nothing was lost."""
    print(f"{name}: {json.dumps(vars(counts))}", flush=True)
    return counts.ended == counts.studies and not (counts.differing_tables or counts.whole_made_again or counts.at_once)


if __name__ == "__main__":
    sys.exit(main())
