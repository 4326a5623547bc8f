"""Doing one thing beside another, and all beside the training: threads that yield to it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import torch

from exportweb.calls import Calls

T = TypeVar("T")

_THREADS = 2
_NICE = 19
_TICK = 4_000_000  # ns: what a scheduler may take for a turn


class Beside:
    """Two threads of low priority, with one of PyTorch's threads each, that call functions: to compute, and to write.

    They are started when this is made and end when this is forgotten, not earlier: a version may have to be written while the interpreter
    exits, and Python starts no new thread then, nor does an executor of `concurrent.futures` take work.

    `crowded` says whether the last computation spent more time waiting for a core than on one. A thread of low priority that waits
    gets 1.5 % of a core (Linux's weights: 15 against 1,024), and a step of training that is spread over all cores is over when its slowest
    part is: two such threads cost it 3 %. So where it is crowded, one thing had better be done after another.
    """

    def __init__(self) -> None:
        self.crowded = False
        self._calls = Calls()
        threads, ready = torch.get_num_threads(), threading.Barrier(_THREADS + 1)
        for _ in range(_THREADS):
            threading.Thread(target=_work, args=(self._calls, ready), name="exportweb-beside", daemon=True).start()
        weakref.finalize(self, self._calls.end).atexit = False
        ready.wait()
        torch.set_num_threads(threads)  # what the threads have set is also what threads begin with that are started from now on

    def call(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Have a function called in one of the threads; its result or exception comes with the future."""
        return self._calls.call(function, *args)

    def compute(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Like `call`, of a function that computes; notice whether there was a core for it."""

        def run() -> T:
            before = _ran_and_waited()
            result = function(*args)
            ran, waited = (b - a for a, b in zip(before, _ran_and_waited(), strict=True))
            self.crowded = waited > max(ran, _TICK)
            return result

        return self.call(run)


def yield_to_training() -> None:
    """Give the calling thread, and those that it starts, a low priority (on Linux, where a thread has one of its own)."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _ran_and_waited() -> tuple[int, int]:
    """Return how long the calling thread has run, and waited for a core, in ns; nothing where the system (not Linux) doesn't say so."""
    try:
        ran, waited, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except OSError:
        return 0, 0
    return int(ran), int(waited)


def _work(calls: Calls, ready: threading.Barrier) -> None:
    yield_to_training()
    torch.get_num_threads()  # or the first to be asked, later, would fetch what the process has by then
    torch.set_num_threads(1)
    ready.wait()
    calls.work()
