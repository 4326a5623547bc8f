"""Work aside from the answering: a version is brought up in the time that requests leave.

On Linux a thread of the policy SCHED_IDLE (see sched(7)) runs where a core would be idle, and makes way at once for any other that
wakes. One that is merely nicer is let finish its slice first, milliseconds for which a request waits, and the next one behind it. But where
no core is ever idle, such a thread hardly runs, may hold the GIL all the while, and can't be changed back without privileges. So the policy
is chosen for each piece of work, by what the machine had left just before; and what starves all the same is begun anew by a nice thread.
"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from exportweb.calls import Calls
from exportweb.priority import only_idle_cpus, yield_cpus

log = logging.getLogger(__name__)
T = TypeVar("T")

_NICE = 10  # how much nicer a thread is than the one that starts it, where it isn't left to idle cores
_LEFT = 0.1  # of the CPUs' time: so much has to be idle for that
_WINDOW = 1.0  # seconds: what is left in a shorter time says little
_PATIENCE = 1.0  # seconds after which a thread that has hardly run is given up
_HARDLY = 0.05  # of a core


class Aside:
    """Calls functions in threads that leave the CPUs to whoever answers requests. `proc` is where Linux tells of its CPUs and threads."""

    def __init__(self, *, proc: Path = Path("/proc")) -> None:
        self.left = 0.0  # of the CPUs' time, between the last two looks
        self._proc = proc
        self._looked, self._times = time.monotonic(), _cpu_times(proc)
        self._threads: dict[bool, AsideThread] = {}  # for idle CPUs, or a nice one; made when they are needed

    def look(self) -> None:
        """Measure what is left of the CPUs' time; to be called every few seconds."""
        now = time.monotonic()
        if now - self._looked >= _WINDOW:
            before, self._times, self._looked = self._times, _cpu_times(self._proc), now
            idle, every = (new - old for new, old in zip(self._times, before, strict=True))
            self.left = idle / every if every > 0 else 0.0

    def call(self, function: Callable[[], T]) -> T:
        """Return or raise what a function does. It may be called a second time, while the first call is still under way."""
        if self.left >= _LEFT:
            thread = self._thread(idle=True)
            future = thread.call(function)
            while not self._starves(thread.number, future):
                if future.done():
                    return future.result()
            log.debug("A thread for idle CPUs found none: what it does is begun anew.")
            self._threads.pop(True).end()
            self.left = 0.0  # until the next look
        return self._thread(idle=False).call(function).result()

    def close(self) -> None:
        """End the threads, each once it is done."""
        while self._threads:
            self._threads.popitem()[1].end()

    def _thread(self, *, idle: bool) -> AsideThread:
        if idle not in self._threads:
            self._threads[idle] = AsideThread(idle=idle)
        return self._threads[idle]

    def _starves(self, thread: int, future: Future[T]) -> bool:
        """Watch a thread until it is done, or for a while; return whether it could have run and hardly did."""
        before = _run_time(self._proc, thread)
        start = time.monotonic()
        concurrent.futures.wait([future], _PATIENCE)
        if future.done() or before is None:
            return False
        after = _run_time(self._proc, thread, only_runnable=True)
        return after is not None and after - before < _HARDLY * (time.monotonic() - start)


class AsideThread:
    """A nice thread, or one for idle CPUs, that calls one function after another and keeps nobody from exiting.

    It is kept for the next call, since the C library keeps memory for each thread by itself.
    """

    def __init__(self, *, idle: bool) -> None:
        self._calls = Calls()
        thread = threading.Thread(target=self._work, args=(idle,), name="exportweb-aside", daemon=True)
        thread.start()
        self.number = thread.native_id or 0

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Have a function called; its result or exception comes with the future."""
        return self._calls.call(function)

    def end(self) -> None:
        """End the thread after the calls that it has."""
        self._calls.end()

    def _work(self, idle: bool) -> None:
        yield_cpus(_NICE)
        if idle:
            only_idle_cpus()
        self._calls.work()


def _cpu_times(proc: Path) -> tuple[int, int]:
    """Return how long the CPUs that this process may use were idle, and how long they exist, in ticks; nothing where that isn't said."""
    try:
        cpus = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        lines = [line.split() for line in (proc / "stat").read_text("ascii").splitlines()]
    except (AttributeError, OSError):
        return 0, 0
    times = [list(map(int, line[1:9])) for line in lines if line and line[0] in cpus]  # user nice system idle iowait irq softirq steal
    return sum(each[3] + each[4] for each in times), sum(map(sum, times))


def _run_time(proc: Path, thread: int, *, only_runnable: bool = False) -> float | None:
    """Return how long a thread of this process has had a core, in seconds; None if it is gone, or needs none now."""
    try:
        _, _, fields = (proc / f"self/task/{thread}/stat").read_text("utf-8", "replace").rpartition(")")
    except OSError:
        return None
    state, *numbers = fields.split()
    if only_runnable and state != "R":
        return None
    return (int(numbers[10]) + int(numbers[11])) / os.sysconf("SC_CLK_TCK")
