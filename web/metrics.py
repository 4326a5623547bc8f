"""Prometheus metrics: what is counted, and the page that shows it.

Counting is paid for by every request, so it is a few additions in the event loop's own thread, without locks; the formats are
prometheus_client's business, when the page is asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from exportweb.runtime import Answer, ServedModel

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_IMAGES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Metrics(Collector):
    """The metrics of one app: its answers are counted as they go, what the model knows is asked when the page is."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._requests: Counter[tuple[str, int]] = Counter()
        self._stages: dict[str, _Histogram] = {}
        self._batch = _Histogram(_IMAGES)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # resident memory, CPU seconds, open files

    def observe(self, answer: Answer) -> None:
        """Count one prediction."""
        for stage, seconds in answer.timings.items():
            if stage not in self._stages:
                self._stages[stage] = _Histogram(_SECONDS)
            self._stages[stage].observe(seconds)
        self._batch.observe(answer.batch)

    def count(self, path: str, status: int) -> None:
        """Count one answered request."""
        self._requests[path, status] += 1

    async def page(self, request: Request) -> Response:
        """Answer ``GET /metrics``."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[Metric]:
        """Yield everything; called by the registry."""
        text = "Requests answered; status 499: the client left first."
        requests = CounterMetricFamily("exportweb_requests", text, labels=("path", "status"))
        for (path, status), count in self._requests.items():
            requests.add_metric((path, str(status)), count)
        yield requests

        stages = HistogramMetricFamily("exportweb_stage_seconds", "Time of a prediction by stage.", labels=("stage",))
        for stage, seconds in self._stages.items():
            stages.add_metric((stage,), seconds.buckets(), seconds.sum)
        yield stages

        batch = HistogramMetricFamily("exportweb_batch_size", "Images in the batch that a prediction was part of.")
        batch.add_metric((), self._batch.buckets(), self._batch.sum)
        yield batch

        yield from self._of_the_model()

    def _of_the_model(self) -> Iterator[Metric]:
        stats, current = self._model.stats(), self._model.current
        refused = sum(info.state == "refused" for info in self._model.versions())
        version = current.version if current else 0
        yield GaugeMetricFamily("exportweb_model_version", "The version that serves; 0: none.", version)
        yield GaugeMetricFamily("exportweb_ready", "1 once a version serves.", self._model.ready)
        yield GaugeMetricFamily("exportweb_queue_length", "Requests that wait for a worker.", stats["queue"])
        yield GaugeMetricFamily("exportweb_in_flight", "Requests that workers are at.", stats["in_flight"])
        yield CounterMetricFamily("exportweb_swaps", "Versions that began to serve.", stats["loaded"])
        yield CounterMetricFamily("exportweb_rejections", "Versions that failed their checks.", stats["rejected"])
        yield CounterMetricFamily("exportweb_refusals", "Versions that the trainer did not publish.", refused)


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
