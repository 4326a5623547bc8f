from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from exportweb.runtime.sleepers import Sleepers

WAIT = 10


class Dormitory:
    """Threads that fall asleep one after the other, and write down the order in which they wake."""

    def __init__(self, count: int) -> None:
        self.lock = threading.Lock()
        self.sleepers = Sleepers(self.lock)
        self.woken: list[int] = []
        self.threads = [threading.Thread(target=self._sleep, args=(i,), daemon=True) for i in range(count)]
        for i, thread in enumerate(self.threads):
            thread.start()
            self.wait(lambda i=i: len(self.sleepers._asleep) > i)  # type: ignore[misc]

    def _sleep(self, number: int) -> None:
        with self.lock:
            self.sleepers.sleep()
            assert self.lock.locked()
            self.woken.append(number)

    def wait(self, condition: object) -> None:
        end = time.monotonic() + WAIT
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < end
            time.sleep(0.001)


@pytest.fixture
def three() -> Iterator[Dormitory]:
    dormitory = Dormitory(3)
    yield dormitory
    with dormitory.lock:
        dormitory.sleepers.wake_all()
    for thread in dormitory.threads:
        thread.join(WAIT)
    assert not any(thread.is_alive() for thread in dormitory.threads)


def test_who_fell_asleep_last_is_woken_first(three: Dormitory) -> None:
    for woken in ([2], [2, 1], [2, 1, 0]):
        with three.lock:
            three.sleepers.wake()
        three.wait(lambda woken=woken: three.woken == woken)  # type: ignore[misc]


def test_all_are_woken(three: Dormitory) -> None:
    with three.lock:
        three.sleepers.wake_all()
    three.wait(lambda: sorted(three.woken) == [0, 1, 2])


def test_nobody_is_woken_where_nobody_sleeps() -> None:
    sleepers = Sleepers(threading.Lock())
    sleepers.wake()
    sleepers.wake_all()


def test_a_wake_is_not_lost_on_who_is_about_to_sleep() -> None:
    """What is woken is who slept then, so that who sleeps next stays asleep until its own wake."""
    dormitory = Dormitory(1)
    with dormitory.lock:
        dormitory.sleepers.wake()
        dormitory.sleepers.wake()
    dormitory.wait(lambda: dormitory.woken == [0])
    assert dormitory.sleepers._asleep == []
