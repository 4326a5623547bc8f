"""Prometheus metrics: what is counted, and the page that shows it. One registry per app, nothing global."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from exportweb.runtime import Answer, Event, ServedModel

STAGES = ("queue", "decode", "resize", "inference", "post")
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one app, fed by its answers and by its model's events."""

    def __init__(self, model: ServedModel) -> None:
        registry = self.registry = CollectorRegistry()
        self._requests = Counter(
            "exportweb_requests",
            "Requests answered; status 499: the client left first.",
            ("path", "status"),
            registry=registry,
        )
        stage = Histogram("exportweb_stage_seconds", "Time of a prediction by stage.", ("stage",), buckets=_SECONDS, registry=registry)
        self._stages = {name: stage.labels(name) for name in STAGES}
        self._batch = Histogram(
            "exportweb_batch_size",
            "Images in the batch that a prediction was part of.",
            buckets=_IMAGES,
            registry=registry,
        )
        self._swaps = Counter("exportweb_swaps", "Versions that began to serve.", registry=registry)
        self._rejections = Counter("exportweb_rejections", "Versions that failed their checks.", registry=registry)
        self._refusals = Counter("exportweb_refusals", "Versions that the trainer did not publish.", registry=registry)
        self._gauge("exportweb_model_version", "The version that serves; 0: none.", lambda: _version(model))
        self._gauge("exportweb_ready", "1 once a version serves.", lambda: float(model.ready))
        self._gauge("exportweb_queue_length", "Requests that wait for a worker.", lambda: model.stats()["queue"])
        self._gauge("exportweb_in_flight", "Requests accepted and not yet answered.", lambda: model.stats()["in_flight"])
        ProcessCollector(registry=registry)  # resident memory, CPU seconds, open files
        for info in model.versions():
            self._count(info.state)
        self._unsubscribe = model.subscribe(self._on_event)

    def observe(self, answer: Answer) -> None:
        """Count one prediction."""
        for stage, seconds in answer.timings.items():
            self._stages[stage].observe(seconds)
        self._batch.observe(answer.batch)

    def count(self, path: str, status: int) -> None:
        """Count one answered request."""
        self._requests.labels(path, status).inc()

    async def page(self, request: Request) -> Response:
        """Answer ``GET /metrics``."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

    def close(self) -> None:
        """Stop listening to the model."""
        self._unsubscribe()

    def _gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(value)

    def _on_event(self, event: Event) -> None:
        self._count(event.kind)

    def _count(self, what: str) -> None:
        if what in ("loaded", "serving", "retired"):
            self._swaps.inc()
        elif what == "rejected":
            self._rejections.inc()
        elif what == "refused":
            self._refusals.inc()


def _version(model: ServedModel) -> int:
    current = model.current
    return current.version if current else 0
