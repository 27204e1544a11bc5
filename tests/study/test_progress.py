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


def test_the_estimate_goes_by_cost():
    estimate = Estimate(STEPS)
    estimate.began -= 5.0  # five seconds ago
    assert estimate.left() is None
    estimate.done = 10.0
    assert estimate.left() == pytest.approx(10.0, abs=0.1)
    assert estimate.left(running=15.0) == pytest.approx(1.0, abs=0.1)


def test_times_are_said_in_words():
    assert [spoken(None), spoken(0.2), spoken(61.4), spoken(100)] == [
        "estimating",
        "about 1 s left",
        "about 61 s left",
        "about 2 min left",
    ]
