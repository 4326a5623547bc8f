"""Priority: a thread that does its work when others leave it the time."""

from __future__ import annotations

import contextlib
import os
import threading


def yield_cpus(nice: int) -> None:
    """Make the calling thread, and those that it starts from now on, this much nicer than it is, up to 19 (see setpriority(2)).

    Only on Linux, where each thread has a priority of its own; elsewhere nothing happens.
    """
    if hasattr(os, "setpriority") and hasattr(os, "sched_getaffinity"):
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + nice))


def only_idle_cpus() -> None:
    """Have the calling thread, and those that it starts from now on, run where a CPU would be idle (SCHED_IDLE, see sched(7)).

    Only on Linux, where each thread has a policy of its own; elsewhere, or where that isn't allowed, nothing happens. Without privileges
    there is no way back.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
