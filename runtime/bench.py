"""The bench on which runs are timed: so many at the same time, of so many threads and images each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import msgspec

from exportweb.runtime.aside import AsideThread
from exportweb.runtime.predictor import Predictor
from exportweb.runtime.seat import Seat

_SLICE = 0.06  # seconds for which runs are timed in one go, where a run doesn't take longer
_LEAST, _SHARE = 3, 0.15  # runs that are timed, or the share of the budget that they may take: in one, the machine may have been elsewhere


class Trial(msgspec.Struct, frozen=True):
    """So many `runs` at the same time, of so many `threads` and images (`batch`) each, answered `rate` images/s."""

    runs: int
    threads: int
    batch: int
    rate: float

    def __str__(self) -> str:
        return f"{self.runs}x{self.threads}x{self.batch} {self.rate:.4g}"


class Disturbed(Exception):
    """Something else was asked of the machine, so that figures mean nothing."""


class Setting(NamedTuple):
    """So many runs at the same time, of so many threads and images each."""

    runs: int
    threads: int
    batch: int


class Bench:
    """Measurements, in about `budget` seconds."""

    def __init__(self, budget: float, disturbed: Callable[[], bool], turn: Callable[[], AbstractContextManager[None]]) -> None:
        self.rates: dict[Setting, float] = {}  # images/s
        self.seconds = 0.0  # of the budget that are spent
        self._took: dict[Setting, list[list[float]]] = {}  # seconds of each run, by the thread that made it
        self._budget = budget
        self._disturbed = disturbed
        self._turn = turn

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        """Count what the block takes."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start

    def affords(self, batch: int, rate: float) -> bool:
        """Whether there is time for a measurement of batches, where one run answers `rate` images/s."""
        run = batch / rate
        return self.seconds + run + max(_SLICE, min(_LEAST * run, self._budget * _SHARE + run)) < self._budget

    def trials(self) -> tuple[Trial, ...]:
        """Return what was measured."""
        return tuple(Trial(*setting, round(rate, 1)) for setting, rate in self.rates.items())

    def quick(self, runs: int, threads: int, batch: int, *, share: float = 1.0) -> bool:
        """Whether what was measured can be measured again at little cost, and before more than a share of the budget is spent."""
        run = runs * batch / self.rates[Setting(runs, threads, batch)]
        return run <= _SLICE and self.seconds < share * self._budget and self.affords(batch, batch / run)

    def rate(self, predictor: Predictor, runs: int, threads: int, batch: int) -> float:
        """Measure images/s, by how long a run takes that is slower than a third of them, whenever they were; raise `Disturbed`."""
        setting = Setting(runs, threads, batch)
        took = self._took.setdefault(setting, [[] for _ in range(runs)])
        for times, more in zip(took, self.time_runs(predictor, *setting), strict=True):
            times += more
        self.rates[setting] = sum(batch / sorted(times)[len(times) // 3] for times in took)
        return self.rates[setting]

    def time_runs(self, predictor: Predictor, runs: int, threads: int, batch: int) -> list[list[float]]:
        """Return how many seconds each run took, for each of `runs` threads; raise `Disturbed`."""
        images = predictor.blank(batch)
        beside = [AsideThread(idle=False) for _ in range(runs)]  # who asks meanwhile comes first
        seats = [Seat(number, runs if threads == 1 else 0) for number in range(runs)]  # as workers have
        took: list[list[float]] = [[] for _ in beside]

        def warm(seat: Seat, times: list[float]) -> None:
            seat.take()
            predictor.infer(images)

        def some(seat: Seat, times: list[float]) -> None:
            begin = last = time.perf_counter()
            while last - begin < _SLICE:
                predictor.infer(images)
                now = time.perf_counter()
                times.append(now - last)
                last = now

        def all_do(what: Callable[[Seat, list[float]], None]) -> None:
            with self._turn(), self.spending():
                for done in [thread.call(partial(what, seat, times)) for thread, seat, times in zip(beside, seats, took, strict=True)]:
                    done.result()
            if self._disturbed():
                raise Disturbed

        try:
            all_do(warm)  # the first runs of a shape that go on beside each other allocate, each for itself
            start = self.seconds
            while len(took[0]) < _LEAST and self.seconds - start < self._budget * _SHARE:
                all_do(some)
        finally:
            for thread in beside:
                thread.end()
        return took
