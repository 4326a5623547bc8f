"""Calls for threads of one's own: what has to run in a thread of another priority, or while the interpreter exits, when Python starts no
new thread and an executor of `concurrent.futures` takes no work.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Calls:
    """Functions to be called one after another by the threads that run `work`."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def call(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Have a function called; its result or exception comes with the future."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        self._queue.put(run)
        return future

    def end(self) -> None:
        """End the threads once the calls so far are made."""
        self._queue.put(None)

    def work(self) -> None:
        """Make calls until the end."""
        while (run := self._queue.get()) is not None:
            run()
            del run  # what it was called with, and what it returned, can be forgotten
        self._queue.put(None)  # for the next thread
