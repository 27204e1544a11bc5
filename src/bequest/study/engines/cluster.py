"""Which machines are there, do they see the store, and is what a step asks for among them?"""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bequest.study.resources import Kind, Need, Resources
from bequest.study.store import told

INSTALL = '--engine ray needs Ray: pip install "bequest[ray]"'
OBJECTS = 2**27  # bytes of Ray's memory for passing objects; results pass through the store
PROBING = 60.0  # seconds a machine has for its answer: it may have to load Bequest first
SEEING = 5.0  # seconds until a file that another machine wrote must be seen here
GIBIBYTE = 2**30


@dataclass(frozen=True)
class Cluster:
    """Machines that see the store.

    Attributes:
        sign: a file in the store that is there while this run goes on; a machine that joins later looks for it.
        gpus: whether any machine has one.
        forbidden: whether GPUs are not to be used.
    """

    sign: Path
    gpus: bool
    forbidden: bool

    def asks(self, kind: Kind, resources: Resources, devices: int = 1) -> dict[str, float]:
        """Give what a step of a kind, on so many devices, asks Ray for: `num_cpus`, `num_gpus`, `memory` in bytes."""
        need: Need = getattr(resources, kind)
        gpus = float(self.gpus and kind != "rest") if need.gpus is None else need.gpus
        asked = {"num_cpus": float(need.cpus), "num_gpus": 0.0 if self.forbidden else gpus}
        asked |= {"memory": need.memory_gib * GIBIBYTE} if need.memory_gib else {}
        return {name: amount * devices for name, amount in asked.items()}


@contextmanager
def cluster(root: Path, address: str | None, device: str) -> Iterator[Cluster]:
    """Connect to the machines of a cluster, or start Ray on this one, for the length of a run.

    Args:
        root: the folder of the store.
        address: of a cluster, as in `auto` or `10.0.0.1:6379`; None starts Ray here, unless the caller has already.
        device: `auto` or `cpu`; Ray says which GPU is whose.

    Yields:
        The cluster, all machines of which see the store.

    Raises:
        ValueError: if a machine does not see the store, or the device is one by name.
        ImportError: if Ray is not installed.
    """
    if device not in ("auto", "cpu"):
        raise ValueError(f"--device {device} goes with --engine local; Ray gives steps their GPUs: use auto or cpu")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send statistics of use to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its future default; silences a warning of it
    try:
        import ray
    except ImportError as error:
        raise ImportError(INSTALL) from error
    began = not ray.is_initialized()
    if began:
        _connect(address)
    sign = root / "nodes" / uuid.uuid4().hex / "driver"
    try:
        shutil.rmtree(root / "nodes", ignore_errors=True)  # of a run that was killed; this one holds the store
        with told(root):
            sign.parent.mkdir(parents=True)
            sign.write_text(sign.parent.name, encoding="utf-8")
        _probe(sign)
        gpus = ray.cluster_resources().get("GPU", 0) > 0
        yield Cluster(sign, gpus, device == "cpu")
    finally:
        if began:
            ray.shutdown()  # and with it whatever still runs for us, before the store is given back
        shutil.rmtree(root / "nodes", ignore_errors=True)


def fits(asked: Mapping[str, float]) -> str | None:
    """Compare what a step asks for with what each machine has.

    Args:
        asked: see `Cluster.asks`.

    Returns:
        None if one machine has it all; otherwise what is asked for and what the machines have, in words.
    """
    import ray

    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(has.get(names[name], 0) >= amount for name, amount in asked.items()) for has in machines):
        return None
    return f"{_spoken({names[name]: amount for name, amount in asked.items()})}; there are " + ", ".join(
        sorted({_spoken(has) for has in machines})
    )


def _spoken(amounts: Mapping[str, float]) -> str:
    memory = amounts.get("memory", 0) / GIBIBYTE
    words = [f"{amounts.get('CPU', 0):g} CPUs", f"{amounts.get('GPU', 0):g} GPUs"]
    return " + ".join([*words, *([f"{memory:.1f} GiB"] if memory else [])])


def _connect(address: str | None) -> None:
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        # "local": never a cluster that happens to run here
        ray.init(address="local", include_dashboard=False, object_store_memory=OBJECTS, **quiet)
        return
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"--address {address}: no Ray cluster answers ({reason}); `ray start --head` starts one, one with "
            "tokens wants its ~/.ray/auth_token here, too, and without --address Bequest starts its own"
        ) from error


def _probe(sign: Path) -> None:
    """Have every machine that can run a step read the driver's sign and write its own beside it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    ask = ray.remote(num_cpus=0, max_retries=0)(sign_back)
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[ask.options(scheduling_strategy=there).remote(sign, node["NodeID"])] = node
    ray.wait(list(asked), num_returns=len(asked), timeout=PROBING)
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    for question, node in asked.items():
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        try:
            found = ray.get(question, timeout=0)
        except ray.exceptions.RayTaskError as error:
            reason = str(error.cause).strip().splitlines()[-1]
            raise ValueError(f"{name} cannot run Bequest ({reason}); install the same version there") from error
        except (ray.exceptions.RayError, TimeoutError) as error:
            if node["NodeID"] not in alive:  # it was lost meanwhile, or just before
                continue
            raise ValueError(f"{name} did not answer ({type(error).__name__}); is it reachable?") from error
        if found != sign.parent.name or not _answered(sign.parent / node["NodeID"], found):
            raise ValueError(
                f"{name} does not see {sign.parents[2]}; give --folder a place on a file system that all machines of "
                "the cluster share, under the same path"
            )


def sign_back(sign: Path, name: str) -> str | None:
    """Read the driver's sign and write one back; runs on the machine that is asked.

    Args:
        sign: the driver's file in the store.
        name: of the file to write beside it.

    Returns:
        What the sign says; None if this machine does not see it, or may not write.
    """
    try:
        found = sign.read_text(encoding="utf-8")
        (sign.parent / name).write_text(found, encoding="utf-8")
    except OSError:
        return None
    return found


def _answered(path: Path, expected: str) -> bool:
    """Look for an answer until it is seen; a shared file system may take a moment."""
    until = time.monotonic() + SEEING
    while True:
        try:
            list(path.parent.iterdir())  # asks a shared file system afresh
            if path.read_text(encoding="utf-8") == expected:
                return True
        except OSError:
            pass
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
