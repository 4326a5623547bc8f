"""Prometheus metrics: what is counted, and the page that shows it.

Counting is paid for by every request, so it is a few additions in the event loop's own thread, without locks; the formats are
prometheus_client's business, when the page is asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
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
    """The metrics of one app: its answers are counted as they go, what the models know is asked when the page is."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._models = models
        self._requests: Counter[tuple[tuple[str, str], int]] = Counter()
        self._answers = {name: Answers() for name in models}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # resident memory, CPU seconds, open files

    def of(self, name: str) -> Answers:
        """Return where the answers of a model are counted."""
        return self._answers[name]

    def count(self, path: tuple[str, str], status: int) -> None:
        """Count one answered request by its path and model (empty: none)."""
        self._requests[path, status] += 1

    async def page(self, request: Request) -> Response:
        """Answer ``GET /metrics``."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[Metric]:
        """Yield everything; called by the registry."""
        text = "Requests answered; status 499: the client left first."
        requests = CounterMetricFamily("exportweb_requests", text, labels=("model", "path", "status"))
        for ((path, name), status), count in self._requests.items():
            requests.add_metric((name, path, str(status)), count)
        yield requests

        stages = HistogramMetricFamily("exportweb_stage_seconds", "Time of a prediction by stage.", labels=("model", "stage"))
        batch = HistogramMetricFamily("exportweb_batch_size", "Images in the batch that a prediction was part of.", labels=("model",))
        for name, answers in self._answers.items():
            for stage, seconds in answers.stages.items():
                stages.add_metric((name, stage), seconds.buckets(), seconds.sum)
            batch.add_metric((name,), answers.batch.buckets(), answers.batch.sum)
        yield stages
        yield batch

        yield from self._of_the_models()

    def _of_the_models(self) -> Iterator[Metric]:
        def gauge(name: str, text: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"exportweb_{name}", text, labels=("model",))

        def counter(name: str, text: str) -> CounterMetricFamily:
            return CounterMetricFamily(f"exportweb_{name}", text, labels=("model",))

        version = gauge("model_version", "The version that serves; 0: none.")
        loaded = gauge("loaded_versions", "Versions that are loaded.")
        ready = gauge("ready", "1 once a version serves.")
        queue = gauge("queue_length", "Requests that wait for a worker.")
        in_flight = gauge("in_flight", "Requests that workers are at.")
        swaps = counter("swaps", "Versions that began to serve.")
        rejections = counter("rejections", "Versions that failed their checks.")
        refusals = counter("refusals", "Versions that the trainer did not publish.")
        for name, model in self._models.items():
            stats, current = model.stats(), model.current
            version.add_metric((name,), current.version if current else 0)
            loaded.add_metric((name,), len(model.loaded))
            ready.add_metric((name,), model.ready)
            queue.add_metric((name,), stats["queue"])
            in_flight.add_metric((name,), stats["in_flight"])
            swaps.add_metric((name,), stats["loaded"])
            rejections.add_metric((name,), stats["rejected"])
            refusals.add_metric((name,), sum(info.state == "refused" for info in model.versions()))
        yield from (version, loaded, ready, queue, in_flight, swaps, rejections, refusals)


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
