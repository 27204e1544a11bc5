"""Schedules with known ends, and what must hold for every one."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bequest.study.planned import Planned
from bequest.study.timetable import longest_after, timetable


def steps_of(**inputs):
    return [Planned(name, name, "train", 1.0, tuple(needed)) for name, needed in inputs.items()]


def test_a_free_device_takes_the_first_step_whose_inputs_are_there():
    steps = steps_of(a="", b="", c="a", d="", e="bc")
    laid = timetable(steps, {"a": 3, "b": 1, "c": 2, "d": 4, "e": 1}, 2)
    assert laid.begins == {"a": 0, "b": 0, "d": 1, "c": 3, "e": 5}
    assert laid.device == {"a": 0, "b": 1, "d": 1, "c": 0, "e": 0}
    assert (laid.length, laid.work, laid.most_at_a_time()) == (6, 11, 2)
    assert laid.busy == pytest.approx(11 / 12)


def test_what_is_urgent_goes_first():
    steps = steps_of(short="", other="", long="", after=["long"])
    seconds = {"short": 2, "other": 2, "long": 3, "after": 3}
    assert timetable(steps, seconds, 2).length == 8  # the long chain begins at 2
    chains = longest_after(steps, seconds)
    assert chains == {"short": 2, "other": 2, "long": 6, "after": 3}
    assert timetable(steps, seconds, 2, chains).length == 6


def test_inputs_that_are_there_already_are_not_waited_for():
    assert timetable(steps_of(b=["a"]), {"b": 5}, 1).length == 5
    assert timetable([], {}, 3).length == 0


def test_steps_without_seconds_take_none():
    laid = timetable(steps_of(a="", b="a", c="b"), {"a": 0, "b": 0, "c": 2}, 1)
    assert (laid.length, laid.most_at_a_time()) == (2, 1)


def test_what_cannot_be_scheduled_is_refused():
    with pytest.raises(ValueError, match="a device or more"):
        timetable(steps_of(a=""), {"a": 1}, 0)
    with pytest.raises(ValueError, match="in a circle"):
        timetable(steps_of(a="b", b="a"), {"a": 1, "b": 1}, 1)


@st.composite
def jobs(draw):
    n = draw(st.integers(1, 25))
    steps = []
    for place in range(n):
        needed = draw(st.lists(st.integers(0, place - 1), max_size=3)) if place else []
        steps.append(Planned(str(place), "", "train", 1.0, tuple(str(one) for one in needed)))
    return steps, {step.key: draw(st.integers(0, 9)) for step in steps}


@settings(max_examples=150, deadline=None)
@given(jobs(), st.integers(1, 5), st.booleans())
def test_every_schedule_is_possible_and_near_the_least(job, devices, urgent):
    steps, seconds = job
    chains = longest_after(steps, seconds)
    laid = timetable(steps, seconds, devices, chains if urgent else None)
    assert laid == timetable(steps, seconds, devices, chains if urgent else None)
    assert laid.begins.keys() == seconds.keys()
    for step in steps:
        assert laid.ends[step.key] == laid.begins[step.key] + seconds[step.key]
        assert all(laid.ends[needed] <= laid.begins[step.key] for needed in step.inputs)
    for device in range(devices):
        mine = sorted((laid.begins[key], laid.ends[key]) for key, where in laid.device.items() if where == device)
        assert all(before[1] <= after[0] for before, after in pairwise(mine))
    least = max(sum(seconds.values()) / devices, max(chains.values()))
    # Graham (1969): a list schedule is never longer than this
    assert least <= laid.length <= sum(seconds.values()) / devices + (1 - 1 / devices) * max(chains.values()) + 1e-9
