from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time

import pytest
import torch
from torch import nn

from exportweb.exporters import pace
from exportweb.exporters.pace import Pace


class Clock(threading.Event):
    """An event for which nobody waits; it notes for how long they would."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return True


@pytest.fixture
def busy(monkeypatch):
    """A machine on which others want every core: whatever is done takes 60 ms of one, and a second of waiting."""
    read = itertools.count()
    monkeypatch.setattr(pace, "ran_and_waited", lambda: (0.06 * (at := next(read)), 1.0 * at))
    monkeypatch.setattr(pace.time, "thread_time", lambda: float(next(read)))


@pytest.mark.parametrize(
    ("ran", "waited", "seconds"),
    [
        (0.060, 2.0, 9.94),  # half a hundredth of 12 s
        (0.060, 0.05, None),  # there was a core for it
        (0.060, 20.0, None),  # it had less already
        (0.030, 0.5, None),  # a small version
        (9.0, 20.0, 30.0),  # a large one isn't held back for ever
        (0.001, 0.5, None),  # too early to tell
    ],
)
def test_a_version_has_its_share_of_a_core_that_others_want(monkeypatch, ran, waited, seconds):
    done = False
    monkeypatch.setattr(pace, "ran_and_waited", lambda: (1.0 + ran * done, 1.0 + waited * done))
    monkeypatch.setattr(pace.time, "thread_time", lambda: ran * done)
    clock = Clock()
    held, done = Pace(clock), True
    held.rest()
    assert clock.waits == ([] if seconds is None else [pytest.approx(seconds, abs=0.1)])


@pytest.mark.parametrize(("needed", "held"), [(0.030, False), (0.060, True)])
def test_a_version_is_as_small_as_the_one_before(monkeypatch, needed, held):
    at = ran = waited = 0.0
    monkeypatch.setattr(pace, "ran_and_waited", lambda: (ran, waited))
    monkeypatch.setattr(pace.time, "thread_time", lambda: at)
    clock = Clock()
    versions = Pace(clock)
    at = ran = needed  # while nobody else wanted the core
    versions.rest()
    versions.begin()
    at, ran, waited = at + 0.030, ran + 0.030, 0.5
    versions.rest()
    assert bool(clock.waits) is held


def test_what_is_done_in_pieces_rests_between_them(busy):
    clock = Clock()
    assert list(Pace(clock).each("abc")) == ["a", "b", "c"]
    assert len(clock.waits) == 3 and all(seconds > 0 for seconds in clock.waits)


def test_a_module_rests_between_its_parts_and_is_left_as_it_was(busy):
    clock, model = Clock(), nn.Sequential(nn.Linear(2, 2), nn.ReLU(), torch.jit.script(nn.Linear(2, 2))).eval()
    with Pace(clock).within(model):
        model(torch.zeros(1, 2))
    assert len(clock.waits) == 3
    assert not any(part._forward_pre_hooks for part in model.modules())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how long a thread has waited for a core")
def test_a_thread_knows_how_long_it_ran_and_waited():
    def work():
        os.sched_setaffinity(threading.get_native_id(), {core})
        before = pace.ran_and_waited()
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        found.extend(after - then for after, then in zip(pace.ran_and_waited(), before, strict=True))

    core, found = min(os.sched_getaffinity(0)), []
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            os.sched_setaffinity(busy.pid, {core})
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        finally:
            busy.kill()
    ran, waited = found
    assert ran >= 0.05 and waited > 0
