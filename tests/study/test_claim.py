"""A claim has one holder at a time, ends with its process, and is not taken from another machine that lives."""

import errno
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from bequest.study import claim
from bequest.study.claim import machine, read, take


def refuse(holder):
    raise BlockingIOError(holder)


def shorter(monkeypatch, **seconds):
    for name, value in seconds.items():
        monkeypatch.setattr(claim, name, value)


def write(path, token="x", beats=1, where="another machine"):
    content = {"machine": where, "host": "far", "process": 7, "token": token, "beats": beats}
    path.write_bytes(json.dumps(content).encode().ljust(claim.LENGTH))


def process(path, code):
    """A process that takes the claim, prints a line, and goes on with the code."""
    head = "import sys, time; from pathlib import Path; from bequest.study import claim\npath = Path(sys.argv[1])\n"
    return subprocess.Popen([sys.executable, "-c", head + code, str(path)], stdout=subprocess.PIPE, text=True)


def test_a_held_claim_is_refused_naming_its_holder_and_free_after_its_release(tmp_path):
    first = take(tmp_path / "a", refuse)
    first.share = 0.5
    with pytest.raises(BlockingIOError, match=f"process {os.getpid()} on "):
        take(tmp_path / "a", refuse)
    assert read(tmp_path / "a")["process"] == os.getpid()
    first.release()
    assert not (tmp_path / "a").exists()
    take(tmp_path / "a", refuse).release()


def test_the_claim_of_a_killed_process_is_free_at_once(tmp_path):
    path = tmp_path / "a"
    holder = process(path, "held = claim.take(path, print)\nprint('held', flush=True)\ntime.sleep(60)")
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError, match=f"process {holder.pid} on "):
        take(path, refuse)
    holder.kill()
    holder.communicate()
    assert path.exists()
    take(path, refuse).release()


def test_many_processes_never_hold_one_claim_at_once(tmp_path):
    code = """
for turn in range(12):
    held = claim.take(path, lambda holder: time.sleep(0.001))
    counter = path.with_name("counter")
    number = int(counter.read_text())
    time.sleep(0.0005)
    counter.write_text(str(number + 1))
    held.release()
"""
    (tmp_path / "counter").write_text("0")
    processes = [process(tmp_path / "a", code) for _ in range(3)]
    assert [one.wait() for one in processes] == [0, 0, 0]
    assert (tmp_path / "counter").read_text() == "36"
    for one in processes:
        one.stdout.close()


def test_the_claim_of_another_machine_is_taken_when_it_is_silent_only(tmp_path, monkeypatch):
    shorter(monkeypatch, BEAT=0.05, SILENCE=0.4, SETTLING=0.1)
    path, over = tmp_path / "a", threading.Event()
    write(path)

    def live():
        beats = 1
        while not over.wait(0.05):
            write(path, beats=(beats := beats + 1))

    thread = threading.Thread(target=live)
    thread.start()
    with pytest.raises(BlockingIOError, match="process 7 on far"):
        take(path, refuse)
    over.set()
    thread.join()
    began = time.monotonic()
    held = take(path, refuse)
    assert time.monotonic() - began >= 0.4
    assert read(path)["machine"] == machine()
    held.release()


def test_of_two_machines_that_take_a_silent_claim_at_once_the_last_to_write_has_it(tmp_path, monkeypatch):
    shorter(monkeypatch, BEAT=0.05, SILENCE=0.1, SETTLING=0.4)
    path = tmp_path / "a"
    write(path, token="dead")
    other = threading.Thread(target=lambda: (time.sleep(0.3), write(path, token="the other")))
    other.start()  # writes after we did and before we look again
    with pytest.raises(BlockingIOError, match="far"):
        take(path, refuse)
    other.join()


def test_a_claim_that_a_crash_left_empty_can_be_taken(tmp_path, monkeypatch):
    shorter(monkeypatch, SETTLING=0.1)
    (tmp_path / "a").touch()
    take(tmp_path / "a", refuse).release()


def test_without_locks_of_the_file_system_a_living_claim_is_still_refused(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(claim.fcntl, "flock", none)
    shorter(monkeypatch, BEAT=0.05, SILENCE=1.0, SETTLING=0.1)
    held = take(tmp_path / "a", refuse)
    with pytest.raises(BlockingIOError):
        take(tmp_path / "a", refuse)
    held.release()
    take(tmp_path / "a", refuse).release()


def test_a_process_whose_claim_another_machine_took_ends(tmp_path):
    path = tmp_path / "a"
    code = "claim.BEAT = 0.05\nheld = claim.take(path, print)\nprint('held', flush=True)\ntime.sleep(60)"
    holder = process(path, code)
    holder.stdout.readline()
    write(path, token="taken")
    assert holder.wait(10) == claim.LOST_CLAIM
    holder.stdout.close()


def test_signs_of_life_carry_how_far_the_work_is(tmp_path, monkeypatch):
    shorter(monkeypatch, BEAT=0.02)
    held = take(tmp_path / "a", refuse)
    held.share = 0.25
    until = time.monotonic() + 10
    while read(tmp_path / "a")["share"] != 0.25:
        assert time.monotonic() < until
        time.sleep(0.02)
    held.release()
