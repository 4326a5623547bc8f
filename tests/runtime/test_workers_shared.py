"""Several models on the same workers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exportweb.runtime import Answer, Predictor
from exportweb.runtime.jobs import Batch, Live
from exportweb.runtime.lane import Lane
from exportweb.runtime.workers import Workers
from pools import ON_CPU, ON_GPU, Pool
from serving import Artifacts
from versions import WAIT

Picture = Callable[..., bytes]


def test_a_flood_on_one_model_does_not_starve_another(
    pool: Callable[..., Pool], tmp_path: Path, artifacts: Artifacts, live: Callable[..., Live], picture: Picture
) -> None:
    """While a slow model's queue is always full, another's requests wait for what is going on and for little more."""
    slow = Predictor.load(artifacts.write(tmp_path / "slow.onnx", slow=0.01), device="cpu", threads=1)
    flooded = pool(Live(slow, 1, ON_CPU), max_queue=64)
    other = pool(live(), flooded.workers)
    image, runs, stop = picture(), [0], threading.Event()

    def again(answer: Answer | Exception) -> None:
        runs[0] += 1
        if not stop.is_set():
            flooded.submit(image, again)

    for _ in range(64):
        flooded.submit(image, again)
    waited = []
    for _ in range(12):
        before = runs[0]
        other.submit(image, lambda answer, before=before: other.answers.put((runs[0] - before, answer)))
        others, answer = other.answers.get(timeout=WAIT)
        assert answer.version == 1
        waited.append(others)
    stop.set()
    assert flooded.lane.stats()["queue"] > 32
    assert sum(waited) <= len(waited) * 3 * ON_CPU.max_batch, waited  # first come, first served would be 64 each


class Turns:
    """Two models on one worker, whose work takes as long as a test says: who gets its turn when."""

    def __init__(self, live: Live, data: bytes, *seconds: float) -> None:
        self.workers = Workers(1)
        self.lanes = [self.workers.lane() for _ in seconds]
        self.seconds = dict(zip(self.lanes, seconds, strict=True))
        self._data = data
        for lane in self.lanes:
            lane.swap(live)

    def ask(self, lane: Lane, count: int) -> None:
        for _ in range(count):
            lane.submit(self._data, None, print)

    def begin(self) -> tuple[Lane, Any]:
        """Let the worker begin the next thing."""
        with self.workers.lock:
            taken = self.workers._next()
        assert taken is not None
        return taken

    def take(self, turns: int) -> list[Lane]:
        """Let the worker do so many things; return whose they were."""
        taken = []
        for _ in range(turns):
            lane, work = self.begin()
            with self.workers.lock:
                if isinstance(work, Batch):
                    lane.ran(self.seconds[lane], jobs=1, alone=False)
                    lane.ended(work.jobs)
                else:
                    lane.prepared(work, self.seconds[lane])
            taken.append(lane)
        return taken


def test_models_share_the_workers_by_time(live: Callable[..., Live]) -> None:
    turns = Turns(live(plan=ON_GPU), b"", 9.0, 1.0)
    heavy, light = turns.lanes
    for lane in turns.lanes:
        turns.ask(lane, 100)
    taken = turns.take(100)
    assert taken.count(heavy) == 10
    assert taken.count(light) == 90


def test_an_idle_model_saves_nothing_up(live: Callable[..., Live]) -> None:
    turns = Turns(live(plan=ON_GPU), b"", 1.0, 1.0)
    busy, late = turns.lanes
    turns.ask(busy, 200)
    assert set(turns.take(100)) == {busy}
    turns.ask(late, 100)
    taken = turns.take(40)
    assert taken[0] is late  # who comes goes first
    assert 19 <= taken.count(late) <= 21  # and then has its half


def test_work_that_goes_on_counts(live: Callable[..., Live]) -> None:
    """A second worker that comes while the first is at something long takes what the other model has."""
    turns = Turns(live(plan=ON_GPU), b"", 9.0, 1.0)
    heavy, light = turns.lanes
    for lane in turns.lanes:
        turns.ask(lane, 10)
    turns.take(20)
    for lane in turns.lanes:
        turns.ask(lane, 10)
        lane.used = 100.0
    assert [turns.begin()[0] for _ in range(3)] == [heavy, light, light]
