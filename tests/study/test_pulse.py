"""Work in a folder shows that it is alive, rarely and in one move, and leaves nothing behind."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from bequest.study.pulse import SILENT, heard, pulse
from bequest.study.step import Step
from bequest.study.store import Store

WORK = """
import sys, time
from pathlib import Path
from bequest.study.pulse import pulse
with pulse(Path(sys.argv[1]), "cpu", lambda share: None):
    print("begun", flush=True)
    time.sleep(60)
"""


def test_it_says_where_and_how_far_and_passes_every_share_on(tmp_path, monkeypatch):
    passed = []
    monkeypatch.setattr("bequest.study.pulse.RARELY", 3600.0)
    monkeypatch.setattr("bequest.study.pulse.BEAT", 3600.0)
    before = time.time()
    with pulse(tmp_path, "cuda:1", passed.append) as tell:
        sign = heard(tmp_path)
        for share in (0.25, 0.5):
            tell(share)
        soon = heard(tmp_path)
        monkeypatch.setattr("bequest.study.pulse.RARELY", 0.0)
        tell(0.75)
        later = heard(tmp_path)
    assert passed == [0.25, 0.5, 0.75]
    assert before <= sign.began <= sign.heard <= time.time()
    assert (sign.device, sign.share, sign.alive()) == ("cuda:1", 0.0, True)
    assert soon == sign  # too soon to be written again
    assert (later.share, later.began) == (0.75, sign.began)
    assert later.memory_mib > 5
    assert heard(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_it_beats_where_there_is_nothing_to_tell(tmp_path, monkeypatch):
    monkeypatch.setattr("bequest.study.pulse.BEAT", 0.01)
    with pulse(tmp_path, "cpu", lambda share: None):
        first = heard(tmp_path)
        until = time.monotonic() + 60
        while heard(tmp_path).heard == first.heard and time.monotonic() < until:
            time.sleep(0.01)
        assert heard(tmp_path).heard > first.heard


def test_it_ends_with_the_work_that_fails(tmp_path):
    with pytest.raises(ArithmeticError), pulse(tmp_path, "cpu", lambda share: None):
        raise ArithmeticError
    assert heard(tmp_path) is None


def test_work_that_was_killed_is_not_alive(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WORK, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"begun\n"
    assert heard(tmp_path).alive()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not heard(tmp_path).alive()


def test_work_on_another_machine_is_alive_as_long_as_it_is_heard(tmp_path):
    with pulse(tmp_path, "cpu", lambda share: None):
        away = replace(heard(tmp_path), host="elsewhere", pid=1)
    assert away.alive(now=away.heard + SILENT - 1)
    assert not away.alive(now=away.heard + SILENT + 1)


def test_what_cannot_be_read_says_nothing(tmp_path):
    for text in ("{", "[]", '{"share": 1}'):
        (tmp_path / ".progress.json").write_text(text)
        assert heard(tmp_path) is None


def test_it_is_no_part_of_a_result(tmp_path):
    step, store = Step("train", 1, {}), Store(tmp_path)
    with pulse(store.scratch(step), "cpu", lambda share: None):
        pass
    (store.scratch(step) / ".progress.json").write_text("left by a kill")
    found = store.publish(step, {})
    assert sorted(found.json("manifest")) == ["provenance.json", "spec.json"]
    assert sorted(path.name for path in found.folder.iterdir()) == ["manifest.json", "provenance.json", "spec.json"]
