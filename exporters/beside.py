"""Doing one thing beside another, and all beside the training: threads that yield to it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

from exportweb.calls import Calls

T = TypeVar("T")

_THREADS = 2
_NICE = 5  # a third of what a thread of the training has: less would only keep a version, and whoever waits for its core, waiting longer


class Beside:
    """Two threads of low priority, with one of PyTorch's threads each, that call functions; `threads` are their native ids.

    They are started when this is made and end when this is forgotten, not earlier: a version may have to be written while the interpreter
    exits, and Python starts no new thread then, nor does an executor of `concurrent.futures` take work.
    """

    def __init__(self) -> None:
        self._calls = Calls()
        threads, ready = torch.get_num_threads(), threading.Barrier(_THREADS + 1)
        started = [threading.Thread(target=_work, args=(self._calls, ready), name="exportweb-beside", daemon=True) for _ in range(_THREADS)]
        for thread in started:
            thread.start()
        weakref.finalize(self, self._calls.end).atexit = False
        ready.wait()
        self.threads = tuple(thread.native_id for thread in started if thread.native_id is not None)
        torch.set_num_threads(threads)  # what the threads have set is also what threads begin with that are started from now on

    def call(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Have a function called in one of the threads; its result or exception comes with the future."""
        return self._calls.call(function, *args)


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
