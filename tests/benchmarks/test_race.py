"""The harness of the benchmarks; it is no package, so its files are loaded by their paths."""

import importlib.util
import sys
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    loaded = []

    def one(name):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        loaded.append(module)
        return module

    return one


def test_entries_take_turns_and_a_failure_is_kept(load, capsys):
    race = load("race")
    order = []

    def fails():
        order.append("c")
        raise ImportError("no such peer")

    entries = [
        race.Entry("a", lambda: order.append("a") or "result"),
        race.Entry("b", lambda: order.append("b"), most=1),
        race.Entry("c", fails),
    ]
    timed = race.race(entries, rounds=3, warm=1)
    assert order == ["c", "a", "a", "b", "a", "a"]  # warming is an odd turn; b is slow, c has failed
    assert [len(timed[name].seconds) for name in "abc"] == [3, 1, 0]
    assert timed["a"].result == "result" and timed["c"].failure == "ImportError: no such peer"
    row = race.faster("job", "what", timed["a"], "c", timed["c"], least=2)
    assert row.met is None and row.peer_s is None and row.note == "c failed: ImportError: no such peer"
    assert "no such peer" in capsys.readouterr().err


def test_rows_say_what_the_target_says(load):
    race = load("race")
    ours, theirs, bare = (race.Timed(seconds) for seconds in ((2.0, 1.0, 3.0), (20.0,), (1.6,)))
    row = race.faster("job", "what", ours, "peer", theirs, least=10, floor="bytes", bare=bare)
    assert (row.ratio, row.target, row.met) == (10.0, "at least 10", True)
    assert row.above_floor == pytest.approx(1.25)
    row = race.against_floor("job", "what", ours, "bytes", bare, most=1.1)
    assert row.ratio == row.above_floor == pytest.approx(1.25) and row.met is False
    failed = race.Timed((), failure="OSError: gone")
    assert race.faster("job", "what", failed, "peer", theirs, least=2).met is False


def test_a_round_takes_as_long_as_it_takes(load):
    race = load("race")
    timed = race.race([race.Entry("a", lambda: time.sleep(0.02))], rounds=2, warm=0)
    assert 0.02 <= timed["a"].median < 1


@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes on Linux, bytes elsewhere")
def test_memory_is_that_of_the_command_alone(load):
    race = load("race")
    kept = bytearray(200 * 2**20)  # of this process, which the command must not be charged with
    small = race.peak_memory_of([sys.executable, "-c", "pass"])
    large = race.peak_memory_of([sys.executable, "-c", "kept = bytearray(100 * 2**20)"])
    assert len(kept) and small < 60 and large - small == pytest.approx(100, abs=5)
    with pytest.raises(RuntimeError, match="exited with 3"):
        race.peak_memory_of([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_table_as_markdown(load):
    race, table = load("race"), load("table")
    rows = [
        race.Row("plane", "49 points", 2.5, "a|b", None, None, "at least 2", None, "forwards", 2.0, 1.25, "a fell.")
    ]
    text = table.markdown(rows, {"CPU": "some", "cores": 2})
    assert text.startswith("CPU some, cores 2.\n")
    assert "| plane [1] | 49 points | 2.5 s | a\\|b | - |  | at least 2 |  | forwards: 2 s | 1.25 |" in text
    assert text.endswith("[1] a fell.\n")
