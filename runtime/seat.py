"""A seat: the CPU that a busy worker keeps to, so that it never waits behind another worker while a CPU is idle.

Linux puts a thread that wakes where it finds room, and the event loop, which wakes for a moment with every request, keeps taking that
room: then two workers share one CPU, and the other is idle until the kernel moves one of them, often milliseconds later. Where fewer
workers are busy than there are CPUs, there is room anyway, and a seat would only keep a worker from it.
"""

from __future__ import annotations

import contextlib
import os


class Seat:
    """A place for one thread: the `number`-th of the CPUs that it may use, where these are `count`, one for each worker.

    Only on Linux, where each thread has CPUs of its own; elsewhere, or where that isn't allowed, nothing happens.
    """

    def __init__(self, number: int, count: int) -> None:
        self._number = number
        self._count = count
        self._cpu: set[int] = set()  # the one that is kept to now
        self._anywhere: set[int] = set()  # those that the thread may use once it leaves it

    def take(self) -> None:
        """Have the calling thread keep to its CPU; threads that it starts would keep to it, too."""
        if not self._cpu and self._count > 1 and hasattr(os, "sched_setaffinity"):
            cpus = os.sched_getaffinity(0)
            if len(cpus) == self._count:
                cpu = {sorted(cpus)[self._number]}
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(0, cpu)
                    self._cpu, self._anywhere = cpu, cpus

    def leave(self) -> None:
        """Let the calling thread run anywhere again, unless somebody else has decided meanwhile where it may run."""
        cpu, self._cpu = self._cpu, set()
        if cpu and os.sched_getaffinity(0) == cpu:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, self._anywhere)
