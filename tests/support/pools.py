"""Pools of workers with one model in each, for tests of how they share out their work."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from exportweb.runtime import Answer
from exportweb.runtime.jobs import Live, Plan
from exportweb.runtime.lane import Lane
from exportweb.runtime.workers import Workers
from versions import WAIT, Blockade

ON_CPU = Plan(max_batch=4, max_runs=2, prepare_first=True)
ON_GPU = Plan(max_batch=4, max_runs=1, prepare_first=False)


class Pool:
    """A model's lane with the answers that came of it; `workers` are those of other pools, or two of its own."""

    def __init__(self, live: Live | None, workers: Workers | None = None, **options: Any) -> None:
        self.answers: queue.Queue[Answer | Exception] = queue.Queue()
        self.workers = workers or Workers(2)
        self.lane: Lane = self.workers.lane(**options)
        self.lane.swap(live)
        self.workers.start()

    def submit(self, data: bytes, done: Callable[[Answer | Exception], None] | None = None, *, live: Live | None = None) -> Any:
        asked = live or self.lane.current
        assert asked is not None
        params = asked.predictor.task.params({"top_k": 1})
        return self.lane.submit(data, params, done or self.answers.put, live=live)

    def answer(self) -> Answer:
        answer = self.answers.get(timeout=WAIT)
        assert isinstance(answer, Answer), answer
        return answer

    def failure(self) -> Exception:
        answer = self.answers.get(timeout=WAIT)
        assert isinstance(answer, Exception), answer
        return answer

    def blocked(self, data: bytes) -> Blockade:
        return Blockade(self.workers.count, lambda done: self.submit(data, done))
