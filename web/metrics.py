"""Prometheus metrics: what is counted, and the page that shows it. One registry per app, nothing global."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from exportweb.runtime import Answer, ServedModel

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one app: its answers are counted as they go, what the model knows is asked when the page is."""

    def __init__(self, model: ServedModel) -> None:
        registry = self._registry = CollectorRegistry()
        registry.register(_ModelCollector(model))
        ProcessCollector(registry=registry)  # resident memory, CPU seconds, open files
        help = "Requests answered; status 499: the client left first."
        self._requests = Counter("exportweb_requests", help, ("path", "status"), registry=registry)
        help = "Time of a prediction by stage."
        self._stages = Histogram("exportweb_stage_seconds", help, ("stage",), buckets=_SECONDS, registry=registry)
        help = "Images in the batch that a prediction was part of."
        self._batch = Histogram("exportweb_batch_size", help, buckets=_IMAGES, registry=registry)

    def observe(self, answer: Answer) -> None:
        """Count one prediction."""
        for stage, seconds in answer.timings.items():
            self._stages.labels(stage).observe(seconds)
        self._batch.observe(answer.batch)

    def count(self, path: str, status: int) -> None:
        """Count one answered request."""
        self._requests.labels(path, status).inc()

    async def page(self, request: Request) -> Response:
        """Answer ``GET /metrics``."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class _ModelCollector(Collector):
    """What the model knows about itself, asked at each scrape."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    def collect(self) -> Iterator[Metric]:
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
