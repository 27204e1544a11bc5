"""A study under way, as a table, a live table and lines, from a folder without data or network."""

import io
import threading
from datetime import datetime

import pytest
from rich.console import Console

from bequest.report.status import duration, print_standing, steps_in, summary, watch
from bequest.study.planned import write_plan
from bequest.study.pulse import pulse
from bequest.study.standing import Looking
from bequest.study.step import Step
from bequest.study.store import Store

STEPS = [Step("train", 1, {"n": n}, label=f"train [n] {n}", cost=10.0) for n in range(4)]


@pytest.fixture
def store(tmp_path):
    """A folder with a plan of four steps, of which one is done and one failed; its data are nowhere."""
    store = Store(tmp_path / "study")
    (store.root / "study.yaml").write_text("name: trial\n")
    write_plan(store.root, "trial", STEPS)
    finish(store, STEPS[0], 5000.0)
    store.fail(STEPS[1], {"message": "too warm"})
    return store


def finish(store, step, seconds=5.0):
    store.scratch(step)
    store.publish(step, {"seconds": seconds, "device": "cpu", "peak_memory_mib": 1234})


def console(terminal=False, height=40):
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, height=height, color_system=None)


def test_the_table_has_a_line_a_step_and_the_sums(store):
    shown = console()
    with pulse(store.scratch(STEPS[2]), "cuda:1", lambda share: None):
        print_standing(store.root, shown)
    lines = [line.split() for line in shown.file.getvalue().splitlines()]
    assert lines[0] == ["step", "state", "seconds", "left", "device", "MiB"]
    assert lines[1] == ["train", "[n]", "0", "done", "5000.0", "cpu", "1,234"]
    assert lines[2] == ["train", "[n]", "1", "failed:", "too", "warm"]
    assert lines[3][:5] == ["train", "[n]", "2", "running", "0%"]
    assert lines[3][6:9] == ["83", "min", "cuda:1"]
    assert lines[4] == ["train", "[n]", "3", "waiting"]
    assert " ".join(lines[5]).startswith("1 waiting, 1 running, 1 done, 1 failed; about 2.8 h left, until ")


def test_a_study_where_nobody_works_says_so(store):
    standing = Looking(store.root, steps_in(store.root)).look()
    assert summary(standing).plain == "2 waiting, 0 running, 1 done, 1 failed; no run works in this folder now"


def test_a_folder_without_a_study_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no study here"):
        steps_in(tmp_path)


def work(store, begun):
    """A run that does the steps that are left, while somebody watches."""
    with pulse(store.root, "cpu", lambda share: None):
        for step in STEPS[1:]:
            with pulse(store.scratch(step), "cpu", lambda share: None):
                begun.set()
                threading.Event().wait(0.12)
            finish(store, step)


@pytest.mark.parametrize("terminal", [False, True])
def test_watching_ends_with_the_run(store, terminal):
    begun = threading.Event()
    worker = threading.Thread(target=work, args=(store, begun))
    worker.start()
    begun.wait()
    shown = console(terminal)
    watch(store.root, 0.02, shown)
    worker.join()
    text = shown.file.getvalue()
    assert "train [n] 3" in text
    if terminal:
        assert "4 done, 0 failed" in text
    else:
        lines = text.splitlines()
        assert lines[-1] == "0 waiting, 0 running, 4 done, 0 failed"
        assert lines.count("train [n] 3: running") <= 1  # it may run between two looks
        assert lines.count("train [n] 3: done, 5.0 s") == 1
        assert not any(line.startswith("train [n] 0") for line in lines)  # that was there before


def test_watching_a_study_that_failed_and_where_nobody_works_ends_at_once(store):
    shown = console()
    watch(store.root, 60.0, shown)
    assert shown.file.getvalue().splitlines()[0] == "train [n] 1: failed: too warm"


def test_a_small_terminal_shows_what_matters_and_says_what_is_hidden(store):
    more = [Step("train", 1, {"more": n}, label=f"more {n}", cost=10.0) for n in range(60)]
    write_plan(store.root, "trial", STEPS + more)
    for step in more[:20]:
        finish(store, step)
    shown = console(terminal=True, height=20)
    watch(store.root, 60.0, shown)  # nobody works here, and a step has failed
    text = shown.file.getvalue()
    assert "train [n] 1" in text and "more 19" in text and "more 20" in text
    assert "more 0 " not in text
    assert "and 52 more" in text


def test_a_run_that_ends_tomorrow_names_the_day(store):
    with pulse(store.scratch(STEPS[2]), "cpu", lambda share: None):
        standing = Looking(store.root, [*steps_in(store.root)]).look()
    with pulse(store.root, "cpu", lambda share: None):
        sign = Looking(store.root, ()).look().driver
        said = summary(type(standing)(standing.lines, sign, 86400.0)).plain
    assert "about 24.0 h left, until " in said
    assert f" on {datetime.now():%d %b}" not in said and said.split()[-1].isalpha()


def test_labels_and_messages_of_strangers_stay_on_their_line(store):
    odd = Step("train", 1, {"odd": 1}, label="a\nb\u202ec\x1b[31m", cost=1.0)
    write_plan(store.root, "trial", [odd])
    store.fail(odd, {"message": "no\nmore"})
    for shown, print_ in ((console(), print_standing), (console(), lambda folder, to: watch(folder, 60.0, to))):
        print_(store.root, shown)
        text = shown.file.getvalue()
        assert "a b c [31m" in text and "no more" in text
        assert "\x1b" not in text and "\u202e" not in text


def test_durations_are_said_in_words():
    assert [duration(seconds) for seconds in (0.4, 89, 90, 3599, 5400, 172799, 172800)] == [
        "0 s", "89 s", "2 min", "60 min", "1.5 h", "48.0 h", "2.0 days",
    ]  # fmt: skip
