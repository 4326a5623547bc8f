"""Doing one thing beside another: the disk's part of a version while the processor does its own."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Beside:
    """A thread that calls functions one after another.

    It is started when this is made and ends when this is forgotten, not earlier: a version may have to be written while the interpreter
    exits, and Python starts no new thread then, nor does an executor of `concurrent.futures` take work.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=_work, args=(self._calls,), name="exportweb-disk", daemon=True).start()
        weakref.finalize(self, self._calls.put, None).atexit = False

    def call(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Have a function called in the thread; its result or exception comes with the future."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        self._calls.put(run)
        return future


def _work(calls: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        del call  # what it was called with can be forgotten
