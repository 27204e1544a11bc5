"""How far a study is, from a folder that holds a step in each state."""

from contextlib import ExitStack

import pytest

from bequest.study.planned import noted
from bequest.study.pulse import pulse
from bequest.study.standing import Looking
from bequest.study.step import Step
from bequest.study.store import Store

STEPS = [Step("train", 1, {"n": n}, label=f"train {n}", cost=10.0 * (n + 1)) for n in range(6)]


def publish(store, step, seconds):
    store.scratch(step)
    store.publish(step, {"seconds": seconds, "device": "cpu", "peak_memory_mib": 300})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def look(store):
    looking = Looking(store.root, noted(STEPS))
    return looking.look


def states(standing):
    return [line.state for line in standing.lines]


def test_each_state_is_told(store, look):
    publish(store, STEPS[0], 5.0)
    store.fail(STEPS[1], {"message": "too warm", "traceback": ""})
    store.scratch(STEPS[2])
    with pulse(store.scratch(STEPS[3]), "cuda:0", lambda share: None):
        standing = look()
    assert states(standing) == ["done", "failed", "begun", "running", "waiting", "waiting"]
    assert (standing.lines[0].seconds, standing.lines[0].memory_mib) == (5.0, 300)
    assert standing.lines[1].note == "too warm"
    assert standing.lines[3].device == "cuda:0"
    assert standing.going
    assert states(look())[3] == "begun"
    assert not look().going


def test_the_time_left_goes_by_cost_and_by_how_many_run_at_a_time(store, look):
    assert look().left is None  # nobody can tell yet
    publish(store, STEPS[0], 20_000.0)  # cost 10: two thousand seconds a unit
    assert look().left == pytest.approx(2000 * (20 + 30 + 40 + 50 + 60))
    with ExitStack() as stack:
        for step in STEPS[1:3]:
            stack.enter_context(pulse(store.scratch(step), "cpu", lambda share: None))
        assert look().left == pytest.approx(2000 * (20 + 30 + 40 + 50 + 60) / 2, rel=0.01)
    for step in STEPS[1:]:
        publish(store, step, 1.0)
    assert look().left == 0.0


def test_a_running_step_is_judged_by_itself_once_it_is_far_enough(store, look, monkeypatch):
    publish(store, STEPS[0], 20_000.0)
    monkeypatch.setattr("bequest.study.pulse.RARELY", 0.0)
    with pulse(store.scratch(STEPS[1]), "cpu", lambda share: None) as tell:
        assert look().lines[1].left == pytest.approx(40_000, rel=0.01)  # as many a unit as the other took
        tell(0.5)
        line = look().lines[1]
    assert line.share == 0.5
    assert line.left == pytest.approx(line.seconds)  # half is done


def test_the_longest_running_step_bounds_the_end(store, look):
    for step in STEPS[:5]:
        publish(store, step, 1000 * step.cost)
    with pulse(store.scratch(STEPS[5]), "cpu", lambda share: None):
        assert look().left == pytest.approx(60_000, rel=0.01)


def test_a_result_that_goes_away_waits_again_and_one_that_is_damaged_is_told(store, look):
    publish(store, STEPS[0], 5.0)
    assert states(look())[0] == "done"
    store.discard(STEPS[0])
    assert states(look())[0] == "waiting"
    publish(store, STEPS[1], 5.0)
    (store.open(STEPS[1]).folder / "provenance.json").write_text("{")
    publish(store, STEPS[2], 5.0)
    (store.open(STEPS[2]).folder / "manifest.json").unlink()
    standing = look()
    assert states(standing)[1:3] == ["damaged", "damaged"]
    assert "provenance.json cannot be read" in standing.lines[1].note


def test_looking_closely_finds_a_changed_byte(store, look):
    (store.scratch(STEPS[0]) / "rows.txt").write_text("1 2 3")
    publish(store, STEPS[0], 5.0)
    (store.open(STEPS[0]).folder / "rows.txt").write_text("1 2 4")
    assert states(look())[0] == "done"
    closely = Looking(store.root, noted(STEPS), closely=True).look()
    assert closely.lines[0].state == "damaged"
    assert "rows.txt has changed since it was written" in closely.lines[0].note


def test_the_failure_of_a_step_that_runs_again_is_not_shown(store, look):
    store.fail(STEPS[0], {"message": "too warm", "traceback": ""})
    with pulse(store.scratch(STEPS[0]), "cpu", lambda share: None):
        assert states(look())[0] == "running"
    (store.root / "failed" / STEPS[0].key / "failure.json").write_text("{")
    assert (look().lines[0].state, look().lines[0].note) == ("failed", "no message")


def test_the_sign_of_the_run_itself_is_told(store, look):
    assert look().driver is None
    with pulse(store.root, "cpu", lambda share: None):
        assert look().driver.alive() and look().going
