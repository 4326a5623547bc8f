"""The page of metrics, in Prometheus' text format. Imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as TYPE
from prometheus_client.registry import Collector

from exportweb.web.metrics import Metrics

__all__ = ["TYPE", "text"]


def text(metrics: Metrics) -> bytes:
    """Return the page."""
    registry = CollectorRegistry()
    registry.register(_Collector(metrics))
    ProcessCollector(registry=registry)  # resident memory, CPU seconds, open files
    return generate_latest(registry)


class _Collector(Collector):
    """What was counted, and what the models know now."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield everything; called by the registry."""
        text = "Requests answered; status 499: the client left first."
        requests = CounterMetricFamily("exportweb_requests", text, labels=("model", "path", "status"))
        for ((path, name), status), count in self._metrics.requests.items():
            requests.add_metric((name, path, str(status)), count)
        yield requests

        stages = HistogramMetricFamily("exportweb_stage_seconds", "Time of a prediction by stage.", labels=("model", "stage"))
        batch = HistogramMetricFamily("exportweb_batch_size", "Images in the batch that a prediction was part of.", labels=("model",))
        for name, answers in self._metrics.answers.items():
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
        for name, model in self._metrics.models.items():
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
