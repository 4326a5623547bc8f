from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from exportweb.runtime.seat import Seat

CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
several = pytest.mark.skipif(len(CPUS) < 2, reason="needs Linux and two CPUs")


def in_thread(function: Callable[[], Any]) -> Any:
    """Return what a function returns in a thread of its own, which takes its CPUs with it when it ends."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(function()))
    thread.start()
    thread.join()
    return answers[0]


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    seat = Seat(0, 2)
    seat.take()
    seat.leave()


@several
def test_each_thread_keeps_to_a_cpu_of_its_own_until_it_leaves_it() -> None:
    def sit(number: int) -> tuple[set[int], set[int]]:
        seat = Seat(number, len(CPUS))
        seat.take()
        seat.take()
        taken = os.sched_getaffinity(0)
        seat.leave()
        seat.leave()
        return taken, os.sched_getaffinity(0)

    for number, cpu in enumerate(CPUS):
        assert in_thread(lambda number=number: sit(number)) == ({cpu}, set(CPUS))
    assert os.sched_getaffinity(0) == set(CPUS)  # of other threads, nothing changed


@several
def test_where_cpus_are_not_as_many_as_threads_nobody_sits() -> None:
    def sit() -> set[int]:
        Seat(0, len(CPUS) + 1).take()
        return os.sched_getaffinity(0)

    assert in_thread(sit) == set(CPUS)


@several
def test_the_cpus_are_those_that_the_thread_may_use_now() -> None:
    def sit() -> tuple[set[int], set[int]]:
        os.sched_setaffinity(0, CPUS[1:])
        seat = Seat(0, len(CPUS))
        seat.take()  # these aren't as many any more
        return os.sched_getaffinity(0), set(CPUS[1:])

    taken, given = in_thread(sit)
    assert taken == given


@several
def test_what_somebody_else_decides_meanwhile_stays() -> None:
    """As `taskset -p` does, or a cluster that gives a container other CPUs."""

    def sit() -> set[int]:
        seat = Seat(0, len(CPUS))
        seat.take()
        os.sched_setaffinity(0, {CPUS[1]})
        seat.leave()
        return os.sched_getaffinity(0)

    assert in_thread(sit) == {CPUS[1]}


@several
def test_what_is_not_allowed_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sandboxes refuse the call."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    seat = Seat(0, len(CPUS))
    seat.take()
    seat.leave()
    assert os.sched_getaffinity(0) == set(CPUS)
