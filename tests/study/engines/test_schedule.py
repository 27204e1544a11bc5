"""What is free begins in the order of the plan, and waits for what has to be done again."""

import random

from bequest.study.engines.schedule import Schedule
from bequest.study.step import Step


def step(name, **inputs):
    return Step("give", 1, {"name": name}, inputs, label=name)


A, B = step("a"), step("b")
C = step("c", first=A, second=A)
D = step("d", a=A, b=B)
E = step("e", c=C, d=D)
STEPS = [A, B, C, D, E]


def labels(steps):
    return [one.label for one in steps]


def test_steps_become_free_when_all_inputs_have_ended():
    schedule = Schedule(STEPS)
    assert labels(schedule.free()) == ["a", "b"]
    assert schedule.free() == []
    schedule.ended(A)
    assert labels(schedule.free()) == ["c"]
    schedule.ended(B)
    schedule.ended(C)
    assert labels(schedule.free()) == ["d"]
    schedule.ended(D)
    assert labels(schedule.free()) == ["e"]


def test_whatever_ends_first_each_step_comes_once_and_after_its_inputs():
    draws = random.Random(5)
    steps = []
    for number in range(60):
        needed = draws.sample(steps, k=min(len(steps), draws.randrange(4)))
        steps.append(step(str(number), **{f"i{place}": one for place, one in enumerate(needed)}))
    schedule, running, seen = Schedule(steps), [], []
    while free := schedule.free() or running:
        if free is not running:
            running += free
        ended = running.pop(draws.randrange(len(running)))
        assert all(needed.label in seen for needed in ended.inputs.values())
        seen.append(ended.label)
        schedule.ended(ended)
    assert sorted(seen, key=int) == labels(steps)


def test_readers_of_a_damaged_result_wait_until_it_is_done_again():
    schedule = Schedule(STEPS)
    schedule.free()
    schedule.ended(A)
    assert labels(schedule.free()) == ["c"]
    assert schedule.again(A.key, C) is A
    schedule.ended(B)  # d would be free now
    assert labels(schedule.free()) == ["a"]
    schedule.ended(A)
    assert labels(schedule.free()) == ["c", "d"]


def test_a_damaged_result_that_two_found_is_done_again_once():
    schedule = Schedule(STEPS)
    schedule.free()
    schedule.ended(A)
    schedule.ended(B)
    assert labels(schedule.free()) == ["c", "d"]
    schedule.again(A.key, C)
    schedule.again(A.key, D)
    assert labels(schedule.free()) == ["a"]
    schedule.ended(A)
    assert labels(schedule.free()) == ["c", "d"]
