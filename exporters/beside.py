"""Doing one thing beside another, and all beside the training: threads that yield to it."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

from exportweb.calls import Calls
from exportweb.exporters.pace import Pace, ran_and_waited

T = TypeVar("T")

_THREADS = 2
_NICE = 19
_TICK = 0.004  # seconds: what a scheduler may take for a turn


class Beside:
    """Two threads of low priority, with one of PyTorch's threads each, that call functions: to compute, and to write.

    They are started when this is made and end when this is forgotten, not earlier: a version may have to be written while the interpreter
    exits, and Python starts no new thread then, nor does an executor of `concurrent.futures` take work.

    `crowded` says whether the last computation spent more time waiting for a core than on one. A thread of low priority that waits
    gets 1.5 % of a core (Linux's weights: 15 against 1,024), and two get twice that. So where it is crowded, one thread had better do one
    thing after another, at its `pace`, which `hurry` ends.
    """

    def __init__(self) -> None:
        self.crowded = False
        self.hurry = threading.Event()
        self.pace = Pace(self.hurry)
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
            before = ran_and_waited()
            result = function(*args)
            ran, waited = (b - a for a, b in zip(before, ran_and_waited(), strict=True))
            self.crowded = waited > max(ran, _TICK)
            return result

        return self.call(run)

    @contextlib.contextmanager
    def hurried(self) -> Iterator[None]:
        """Hold nothing back for the training's sake, since it waits."""
        self.hurry.set()
        try:
            yield
        finally:
            self.hurry.clear()


def yield_to_training() -> None:
    """Give the calling thread, and those that it starts, a low priority (on Linux, where a thread has one of its own)."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _work(calls: Calls, ready: threading.Barrier) -> None:
    yield_to_training()
    torch.get_num_threads()  # or the first to be asked, later, would fetch what the process has by then
    torch.set_num_threads(1)
    ready.wait()
    calls.work()
