"""Doing one thing beside another: the disk's part of a version while the processor does its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Beside:
    """A thread that calls functions one after another.

    It is started when it is made and never ends by itself, because a version may have to be written while the interpreter exits, and
    Python starts no new thread then; nor does an executor of `concurrent.futures` take work.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="exportweb-disk", daemon=True).start()

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

    def _work(self) -> None:
        while True:
            self._calls.get()()
