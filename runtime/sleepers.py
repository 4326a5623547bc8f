"""Threads of a pool that wait for work: who fell asleep last is woken first, while its core still has in its caches what it worked with.

A `threading.Condition` wakes who has slept longest, so that a single client's requests would go around all threads, and cores.
"""

from __future__ import annotations

import threading


class Sleepers:
    """Those who wait, under a lock that all of its methods want to be held."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._asleep: list[threading.Lock] = []

    def sleep(self) -> None:
        """Wait until somebody wakes this thread; the lock is free meanwhile."""
        bed = threading.Lock()
        bed.acquire()
        self._asleep.append(bed)
        self._lock.release()
        try:
            bed.acquire()
        finally:
            self._lock.acquire()

    def wake(self) -> None:
        """Wake one, if any sleeps."""
        if self._asleep:
            self._asleep.pop().release()

    def wake_all(self) -> None:
        """Wake all."""
        while self._asleep:
            self.wake()
