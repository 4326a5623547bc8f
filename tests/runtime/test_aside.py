"""Work in the time that requests leave: real threads on real CPUs, kept busy by real processes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exportweb.runtime import aside
from exportweb.runtime.aside import Aside

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux schedules each thread as it wishes")


def how() -> tuple[int, int]:
    """How the calling thread is scheduled: its policy and how nice it is."""
    return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.fixture
def one_busy_cpu() -> Iterator[None]:
    """This test's only CPU, which another process wants all of."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(before)])  # this thread's, and of those that it starts
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, before)


def stat(proc: Path, *, busy: int, idle: int) -> None:
    """Write a /proc/stat in which every CPU was so long busy and idle, in ticks."""
    times = f"{busy // 2} 0 {busy - busy // 2} {idle // 2} {idle - idle // 2} 0 0 0 0 0"
    cpus = [f"cpu{number} {times}" for number in range(os.cpu_count() or 1)]
    (proc / "stat").write_text("\n".join(["cpu  9 9 9 9 9 9 9 9 0 0", *cpus, "intr 1 2 3"]) + "\n")


def test_where_cpus_are_idle_it_is_left_to_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(aside, "_WINDOW", 0.0)
    stat(tmp_path, busy=1000, idle=5000)
    work, mine = Aside(proc=tmp_path), how()
    stat(tmp_path, busy=1160, idle=5040)
    work.look()
    assert work.left == pytest.approx(0.2)
    assert work.call(how)[0] == os.SCHED_IDLE
    stat(tmp_path, busy=1260, idle=5041)
    work.look()
    assert work.left == pytest.approx(1 / 101)
    assert work.call(how) == (os.SCHED_OTHER, mine[1] + 10)
    assert how() == mine, "the caller's own thread stays as it was"


def test_before_the_first_look_and_where_nothing_is_known_it_is_nice(tmp_path: Path) -> None:
    work = Aside(proc=tmp_path)
    assert work.call(how)[0] == os.SCHED_OTHER
    work.look()
    assert work.left == 0.0


def test_what_the_machine_has_left_is_measured(one_busy_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_WINDOW", 0.0)
    work = Aside()
    time.sleep(0.5)
    work.look()
    assert work.left < 0.1, "this thread may use one CPU only, and that one is busy"


def test_what_starves_is_begun_anew(one_busy_cpu: None, tmp_path: Path) -> None:
    """A thread for idle CPUs gets 0.3 % of a core beside one that is always busy."""
    work, begun = Aside(), []
    work.left = 1.0  # as it was a moment ago

    def busy() -> str:
        begun.append(how()[0])
        return hashlib.sha256(bytes(200_000_000)).hexdigest()  # without the GIL, as what it is for

    assert work.call(busy) == hashlib.sha256(bytes(200_000_000)).hexdigest()
    assert begun == [os.SCHED_IDLE, os.SCHED_OTHER]
    assert work.left == 0.0, "so that the next one doesn't wait in vain, too"


def test_what_waits_for_something_else_is_not_taken_for_starving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_PATIENCE", 0.05)
    work, begun = Aside(), []
    work.left = 1.0

    def wait() -> str:
        begun.append(how())
        time.sleep(0.5)
        return "done"

    assert work.call(wait) == "done"
    assert len(begun) == 1


def test_threads_are_kept_and_end_with_it() -> None:
    work = Aside()

    def thread(left: float) -> threading.Thread:
        work.left = left
        return work.call(threading.current_thread)

    idle, nice = thread(1.0), thread(0.0)
    assert idle is not nice
    assert (thread(1.0), thread(0.0)) == (idle, nice)
    work.close()
    for ended in (idle, nice):
        ended.join(10)
        assert not ended.is_alive()


@pytest.mark.parametrize("left", [0.0, 1.0])
def test_what_goes_wrong_is_raised(left: float) -> None:
    work = Aside()
    work.left = left
    with pytest.raises(ZeroDivisionError):
        work.call(lambda: 1 // 0)
