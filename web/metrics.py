"""Prometheus metrics: what is counted. The page that shows it is `web.exposition`'s.

Counting is paid for by every request, so it is a few additions in the event loop's own thread, without locks.
"""

from __future__ import annotations

import importlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from exportweb.runtime import Answer, ServedModel

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_IMAGES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Metrics:
    """The metrics of one app: its answers are counted as they go, what the models know is asked when the page is."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self.models = models
        self.requests: Counter[tuple[tuple[str, str], int]] = Counter()
        self.answers = {name: Answers() for name in models}

    def of(self, name: str) -> Answers:
        """Return where the answers of a model are counted."""
        return self.answers[name]

    def count(self, path: tuple[str, str], status: int) -> None:
        """Count one answered request by its path and model (empty: none)."""
        self.requests[path, status] += 1

    async def page(self, request: Request) -> Response:
        """Answer ``GET /metrics``."""
        # Importing it, with prometheus_client, would be a tenth of the server's start; in the event loop it would keep requests waiting.
        exposition = await run_in_threadpool(importlib.import_module, "exportweb.web.exposition")
        return Response(exposition.text(self), media_type=exposition.TYPE)


class Answers:
    """The predictions of one model, counted."""

    def __init__(self) -> None:
        self.stages: dict[str, _Histogram] = {}
        self.batch = _Histogram(_IMAGES)

    def observe(self, answer: Answer) -> None:
        """Count one prediction."""
        for stage, seconds in answer.timings.items():
            if stage not in self.stages:
                self.stages[stage] = _Histogram(_SECONDS)
            self.stages[stage].observe(seconds)
        self.batch.observe(answer.batch)


class _Histogram:
    """Counts values by the first of `bounds`, ascending, that they don't exceed."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.sum = 0.0
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        self.sum += value
        self._counts[bisect_left(self._bounds, value)] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """Return each bound with how many values don't exceed it."""
        bounds = [*map(str, self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
