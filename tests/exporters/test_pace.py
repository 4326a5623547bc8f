from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from exportweb.exporters import pace
from exportweb.exporters.pace import Pace


@pytest.mark.parametrize(
    ("ran", "waited", "seconds"),
    [
        (0.060, 2.0, 3.6),  # a sixtieth of that
        (0.060, 0.05, 0.0),  # there was a core for it
        (0.030, 2.0, 0.0),  # a small version
        (9.0, 20.0, 30.0),  # a large one doesn't keep the next one off for ever
    ],
)
def test_the_training_is_left_alone_for_a_time_after_a_version(monkeypatch, ran, waited, seconds):
    now, done = 100.0, False
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    monkeypatch.setattr(pace, "ran_and_waited", lambda threads: (1.0 + ran * done, 1.0 + waited * done))
    held = Pace()
    assert held.rest() == 0
    with held.version([1, 2]):
        done = True
    assert held.rest() == pytest.approx(seconds)
    now += 1.0
    assert held.rest() == pytest.approx(max(0.0, seconds - 1.0))


def test_one_that_fails_counts_as_well(monkeypatch):
    def fail():
        done.append(True)
        raise OSError("full")

    done: list[bool] = []
    monkeypatch.setattr(pace, "ran_and_waited", lambda threads: (0.1 * len(done), 2.0 * len(done)))
    held = Pace()
    with pytest.raises(OSError, match="full"), held.version([1]):
        fail()
    assert held.rest() > 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how long a thread has waited for a core")
def test_threads_are_known_to_have_run_and_waited():
    def work():
        os.sched_setaffinity(threading.get_native_id(), {core})
        threads.append(threading.get_native_id())
        both.wait()
        both.wait()
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        both.wait()
        both.wait()

    core, threads, both = min(os.sched_getaffinity(0)), [], threading.Barrier(3)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            os.sched_setaffinity(busy.pid, {core})
            workers = [threading.Thread(target=work) for _ in range(2)]
            for worker in workers:
                worker.start()
            both.wait()
            before = pace.ran_and_waited(threads)
            both.wait()
            both.wait()
            ran, waited = (after - then for after, then in zip(pace.ran_and_waited(threads), before, strict=True))
            both.wait()
        finally:
            busy.kill()
    assert ran >= 0.09 and waited > 0


def test_a_thread_that_is_gone_counts_for_nothing():
    assert pace.ran_and_waited([2**22 + 1]) == (0.0, 0.0)
