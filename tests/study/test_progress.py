"""How a run is told: lines with an estimate where there is no terminal, a bar where there is one."""

import io

import pytest
from rich.console import Console

from bequest.study.progress import Bar, Estimate, Lines, progress, spoken
from bequest.study.step import Step

STEPS = [Step("train", 1, {"n": n}, {}, label=f"train {n}", cost=10.0) for n in range(3)]


def told(terminal):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120)
    with progress(console, STEPS) as watcher:
        for step, outcome in zip(STEPS, ("done", "failed", "done"), strict=True):
            watcher.begins(step)
            watcher.goes_on(0.5)
            watcher.ends(step, outcome, 1.5)
        watcher.says("a [word] in brackets")
    return type(watcher), stream.getvalue()


def test_lines_say_what_ended_how_long_it_took_and_what_is_left():
    kind, text = told(terminal=False)
    assert kind is Lines
    first, second, third, last = text.splitlines()
    assert first.startswith("[1/3] train 0: done, 1.5 s; about")
    assert second.startswith("[2/3] train 1: FAILED")
    assert third == "[3/3] train 2: done, 1.5 s; the last step"
    assert last == "a [word] in brackets"


def test_a_terminal_gets_a_bar_and_a_line_for_what_failed():
    kind, text = told(terminal=True)
    assert kind is Bar
    assert "train 1: FAILED" in text
    assert "a [word] in brackets" in text


class Clock:
    """Seconds that the test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_estimate_goes_by_cost():
    clock = Clock()
    estimate = Estimate(STEPS, clock)
    assert estimate.left() is None
    estimate.begins(STEPS[0])
    clock.now = 5.0
    assert estimate.left(STEPS[0], 0.5) == pytest.approx(25.0)  # five seconds for a sixth
    estimate.ends(STEPS[0], "done", 5.0)
    assert estimate.left() == pytest.approx(10.0)
    estimate.begins(STEPS[1])
    clock.now = 7.5
    assert estimate.left(STEPS[1], 0.5) == pytest.approx(7.5)


def test_each_kind_of_step_has_its_own_pace():
    clock = Clock()
    drawn, trained = Step("images", 1, {}, cost=4.0), [Step("train", 1, {"n": n}, cost=1000.0) for n in range(2)]
    paper = Step("report", 1, {}, cost=1.0)
    estimate = Estimate([drawn, *trained, paper], clock)
    clock.now = 20.0
    estimate.ends(drawn, "done", 20.0)
    assert estimate.left() is None  # at the pace of drawing it would be 10,005 seconds
    clock.now = 50.0
    estimate.ends(trained[0], "done", 30.0)
    assert estimate.left() == pytest.approx(30.03)  # what was not seen goes like what ran the network


def test_a_kind_that_was_not_seen_goes_at_the_pace_of_the_network_and_then_at_its_own():
    clock = Clock()
    reading = Step("weights", 1, {}, cost=1.0)
    predicting = Step("predict", 1, {}, cost=10.0)
    measuring = [Step("barrier", 1, {"n": n}, cost=100.0) for n in range(2)]
    estimate = Estimate([reading, predicting, *measuring], clock)
    clock.now = 60.0
    estimate.ends(reading, "done", 60.0)
    assert estimate.left() is None
    clock.now = 65.0
    estimate.ends(predicting, "done", 5.0)
    assert estimate.left() == pytest.approx(100.0)
    clock.now = 85.0
    estimate.ends(measuring[0], "done", 20.0)
    assert estimate.left() == pytest.approx(20.0)


def test_a_step_that_failed_at_once_says_nothing_of_a_pace():
    clock = Clock()
    estimate = Estimate(STEPS, clock)
    estimate.ends(STEPS[0], "failed", 0.001)
    assert estimate.left() is None
    clock.now = 8.0
    estimate.ends(STEPS[1], "done", 8.0)
    assert estimate.left() == pytest.approx(8.0)


def test_steps_that_run_at_once_take_less_by_the_clock():
    clock = Clock()
    estimate = Estimate(STEPS, clock)
    clock.now = 6.0
    for step in STEPS[:2]:
        estimate.ends(step, "done", 6.0)
    assert estimate.left() == pytest.approx(3.0)


def test_times_are_said_in_words():
    assert [spoken(None), spoken(0.2), spoken(61.4), spoken(100)] == [
        "estimating",
        "about 1 s left",
        "about 61 s left",
        "about 2 min left",
    ]


def test_a_step_that_was_not_counted_on_may_end_too():
    planned, again = Step("predict", 1, {}, cost=2.0), Step("images", 1, {}, cost=3.0)
    estimate = Estimate([planned], clock=lambda: 0.0)
    estimate.begins(again)
    assert estimate.left(again, 0.5) is None or estimate.left(again, 0.5) >= 0
    estimate.ends(again, "done", 1.0)
    estimate.begins(planned)
    estimate.ends(planned, "done", 4.0)
    assert estimate.left() == 0
