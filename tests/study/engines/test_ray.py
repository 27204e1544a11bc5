"""The Ray engine: what local gives, on several nodes, while workers and nodes are lost."""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest

from bequest.study.engines import local
from bequest.study.engines import ray as engine
from bequest.study.reading import read_study
from bequest.study.resources import Need, Resources
from bequest.study.step import Context, Function, Step
from bequest.study.store import MEGABYTE, Store, StoreError

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
ray = pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(
    not os.environ.get("BEQUEST_RAY"),
    reason="a cluster of three nodes wants more than two cores: BEQUEST_RAY=1 pytest tests/study/engines/test_ray.py",
)
MEMORY = 100 * 2**20  # bytes of Ray's own memory a node
STUDY = """\
name: tiny
model: resnet8
size: 8
source: {{weights: {weights}}}
targets: {{digits: {{data: digits, shots: 1}}}}
arms: {{replicas: 1, same_init: false, learning_rates: {{}}, recipe: {{epochs: 2, batch_size: 10}}}}
analyses: {{learning_curves: , distance: }}
"""


class Silent:
    def __init__(self):
        self.heard = []

    def begins(self, step):
        pass

    def goes_on(self, share):
        pass

    def ends(self, step, outcome, seconds):
        self.heard.append((step.label, outcome))

    def says(self, text):
        self.heard.append(text)


def give(folder, arguments, inputs, context):
    (folder / "value.json").write_text(json.dumps(arguments["value"]))


def add(folder, arguments, inputs, context):
    (folder / "value.json").write_text(json.dumps(sum(artefact.json("value") for artefact in inputs.values())))


def burst(folder, arguments, inputs, context):
    raise ArithmeticError("the loss became nan")


def full(folder, arguments, inputs, context):
    raise OSError(28, "No space left on device")


def large(folder, arguments, inputs, context):
    (folder / "large").write_bytes(bytes(MEGABYTE + 1))
    (folder / "value.json").write_text("4")


def die(folder, arguments, inputs, context):
    """Leave a line a try, as a state would be left, and die by SIGKILL until there are enough of them."""
    with (folder / "tries").open("a") as tries:
        tries.write(f"{os.getpid()}\n")
    if len((folder / "tries").read_text().split()) <= arguments["times"]:
        os.kill(os.getpid(), signal.SIGKILL)


def linger(folder, arguments, inputs, context):
    """Say on which node this runs, and stay there until it may go."""
    import ray

    with (folder / "nodes").open("a") as nodes:
        nodes.write(f"{ray.get_runtime_context().get_node_id()}\n")
    while not Path(arguments["go"]).exists():
        time.sleep(0.05)


FUNCTIONS = {
    "give": Function(give),
    "add": Function(add),
    "gather": Function(add, tolerant=("",)),
    "burst": Function(burst),
    "full": Function(full),
    "large": Function(large),
    "die": Function(die),
    "linger": Function(linger),
}
ONE = Step("give", 1, {"value": 1}, {}, label="one")
TWO = Step("give", 1, {"value": 2}, {}, label="two")
SUM = Step("add", 1, {}, {"a": ONE, "b": TWO}, label="sum")
BAD = Step("burst", 1, {}, {}, label="bad")
AFTER = Step("add", 1, {}, {"a": ONE, "b": BAD}, label="after")
GATHERED = Step("gather", 1, {}, {"a": ONE, "b": BAD}, label="gathered", tolerant=("",))


@pytest.fixture(scope="session")
def cluster():
    """Two nodes with a processor each; the driver is on the first."""
    from ray.cluster_utils import Cluster

    importlib.import_module("ray.cloudpickle").register_pickle_by_value(sys.modules[__name__])
    each = {"num_cpus": 1, "object_store_memory": MEMORY, "wait": False}
    nodes = Cluster(initialize_head=True, head_node_args={**each, "include_dashboard": False})
    nodes.add_node(**each)
    nodes.wait_for_nodes(timeout=120)  # machines of tests are busy
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "study")


def carry(store, *steps, **more):
    watcher = Silent()
    return engine.run(steps, FUNCTIONS, store, Context("cpu"), watcher, **more), watcher


def alive():
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def soon(holds):
    """Wait until something holds, three minutes at most: machines of tests may be busy."""
    until = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_steps_end_as_with_local(cluster, store, tmp_path):
    steps = (ONE, TWO, SUM, BAD, AFTER, GATHERED)
    outcome, watcher = carry(store, *steps)
    other = Store(tmp_path / "local")
    expected = local.run(steps, FUNCTIONS, other, Context("cpu"), Silent())
    assert outcome.done.keys() == expected.done.keys() == {"one", "two", "sum", "gathered"}
    assert outcome.failed == expected.failed == {"bad": "the loss became nan"}
    assert outcome.left_out == expected.left_out == ["after"]
    for step in (ONE, TWO, SUM, GATHERED):
        assert store.open(step).json("value") == other.open(step).json("value")
        assert store.open(step).intact() is None
    assert store.open(GATHERED).json("provenance")["inputs_that_failed"] == ["b"]
    assert "ArithmeticError: the loss became nan" in store.failure(BAD)["traceback"]
    assert ("bad", "failed") in watcher.heard
    assert not list((store.root / "claims").iterdir())
    assert not (store.root / "nodes").exists()


def test_what_is_there_needs_no_cluster(tmp_path):
    store = Store(tmp_path)
    local.run((ONE, TWO, SUM), FUNCTIONS, store, Context(), Silent())
    outcome, _ = carry(store, ONE, TWO, SUM, address="nowhere:1")
    assert outcome.there == ["one", "two", "sum"]


def test_a_study_has_the_rows_of_local_bit_for_bit(cluster, tmp_path):
    from bequest.models.files import write_weights
    from bequest.models.opening import open_model
    from bequest.report.session import carry_out

    write_weights(open_model("resnet8", classes=10, seed=3).state_dict(), tmp_path / "p.safetensors")
    (tmp_path / "tiny.yaml").write_text(STUDY.format(weights=tmp_path / "p.safetensors"))
    study = read_study(tmp_path / "tiny.yaml")
    tables = {}
    for kind in ("local", "ray"):
        assert carry_out(study, tmp_path / kind, "cpu", 1, kind) == 0
        tables[kind] = {path.parent.name: path for path in (tmp_path / kind / "steps").glob("*/rows.parquet")}
        assert (tmp_path / kind / "report.html").is_file()
    assert tables["local"].keys() == tables["ray"].keys()
    for key, path in tables["local"].items():
        assert pl.read_parquet(path).equals(pl.read_parquet(tables["ray"][key])), key
    weights = [path.relative_to(tmp_path / "local") for path in (tmp_path / "local").rglob("last.safetensors")]
    assert len(weights) == 3
    for path in weights:
        assert (tmp_path / "local" / path).read_bytes() == (tmp_path / "ray" / path).read_bytes()


def test_a_step_whose_worker_is_killed_goes_on_from_what_it_had_done(cluster, store):
    step = Step("die", 1, {"times": 1}, {}, label="unlucky")
    outcome, watcher = carry(store, step, ONE)
    assert outcome.done.keys() == {"unlucky", "one"}
    assert len((store.open(step).folder / "tries").read_text().split()) == 2
    assert any("unlucky: its worker or machine was lost" in text and "1 of 3" in text for text in watcher.heard)


def test_a_step_whose_worker_is_always_killed_fails_after_four_tries_and_the_rest_goes_on(cluster, store):
    step = Step("die", 1, {"times": 99}, {}, label="hopeless")
    after = Step("add", 1, {}, {"a": ONE, "b": step}, label="after")
    outcome, _ = carry(store, step, ONE, TWO, SUM, after)
    assert outcome.failed.keys() == {"hopeless"}
    assert "its worker or machine was lost 4 times" in outcome.failed["hopeless"]
    assert outcome.left_out == ["after"]
    assert outcome.done.keys() == {"one", "two", "sum"}
    assert len((store.root / "partial" / step.key / "tries").read_text().split()) == 4
    assert "Traceback" in store.failure(step)["traceback"]


def test_a_step_whose_node_is_removed_is_done_on_another(cluster, store, tmp_path):
    steps = [Step("linger", 1, {"go": str(tmp_path / "go"), "n": n}, {}, label=f"step {n}") for n in range(2)]
    watcher, found = Silent(), []
    driver = (steps, FUNCTIONS, store, Context("cpu"), watcher)
    thread = threading.Thread(target=lambda: found.append(engine.run(*driver)), daemon=True)
    thread.start()
    places = [store.root / "partial" / step.key / "nodes" for step in steps]
    soon(lambda: all(place.exists() and place.read_text().endswith("\n") for place in places))
    first = {place.read_text().strip() for place in places}
    assert len(first) == 2  # one on each
    (lost,) = cluster.worker_nodes
    cluster.remove_node(lost, allow_graceful=False)
    soon(lambda: any("its worker or machine was lost" in str(text) for text in watcher.heard))
    (tmp_path / "go").touch()
    thread.join(60)
    assert found[0].done.keys() == {"step 0", "step 1"}
    head = ray.get_runtime_context().get_node_id()
    tries = [(store.open(step).folder / "nodes").read_text().split() for step in steps]
    assert sorted(tries, key=len) == [[head], [*(first - {head}), head]]
    assert sum("tried again, 1 of 3" in str(text) for text in watcher.heard) == 1


def test_a_damaged_input_is_found_where_it_is_read_and_made_again(cluster, store):
    wide = Step("large", 1, {}, {}, label="wide")
    reads = Step("add", 1, {}, {"a": wide}, label="reads")
    reads_too = Step("add", 1, {}, {"a": wide, "b": ONE}, label="reads too")
    carry(store, wide, ONE)
    content = bytearray(MEGABYTE + 1)
    content[5] = 1
    (store.open(wide).folder / "large").write_bytes(content)
    outcome, watcher = carry(store, wide, ONE, reads, reads_too)
    assert outcome.done.keys() == {"wide", "reads", "reads too"}
    assert store.open(wide).intact() is None
    assert store.open(reads_too).json("value") == 5
    assert any("large has changed since it was written; it is done again" in str(text) for text in watcher.heard)


def test_a_full_disk_stops_the_run_with_one_message(cluster, store):
    with pytest.raises(StoreError, match="the disk is full; what is done is kept"):
        carry(store, ONE, Step("full", 1, {}, {"a": ONE}, label="full"))
    assert store.has(ONE)


def test_what_no_machine_has_is_refused(cluster, store):
    asked = Resources(analyses=Need(cpus=3, memory_gib=0.5))
    with pytest.raises(ValueError, match=r"resources.analyses asks for: 3 CPUs \+ 0 GPUs \+ 0.5 GiB; there are 1 CPUs"):
        carry(store, ONE, resources=asked)
    with pytest.raises(ValueError, match="--device cuda:1 goes with --engine local"):
        engine.run([ONE], FUNCTIONS, store, Context("cuda:1"), Silent())


def test_a_node_that_does_not_see_the_store_is_named_and_refused(cluster, store, tmp_path):
    """The node has a file system of its own over the store's folder."""
    hidden = f'mount -t tmpfs none "{tmp_path}" && exec "$@"'
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={cluster.address}", "--num-cpus=1"]
    start += [f"--object-store-memory={MEMORY}", "--block"]
    own = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run([*own, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount: run the tests as root")
    before = alive()
    blind = subprocess.Popen([*own, "sh", "-c", hidden, "sh", *start], stdout=subprocess.DEVNULL)
    try:
        soon(lambda: alive() - before)
        with pytest.raises(ValueError, match=f"does not see {store.root}; give --folder a place on a file system"):
            carry(store, ONE)
    finally:
        blind.terminate()
        blind.wait()
    assert not store.has(ONE)


def test_an_address_belongs_to_ray(tmp_path):
    from bequest.report.session import carry_out

    (tmp_path / "a.yaml").write_text(STUDY.format(weights="p.safetensors"))
    with pytest.raises(ValueError, match="--address names a Ray cluster; add --engine ray"):
        carry_out(read_study(tmp_path / "a.yaml"), tmp_path / "a", "cpu", 1, "local", "auto")
    assert not (tmp_path / "a").exists()
