"""A served model: a path in, predictions out, whatever versions come and go behind it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from exportweb.card import Card
from exportweb.errors import Overloaded
from exportweb.runtime.builder import Builder, Settings
from exportweb.runtime.cpus import usable_cpus
from exportweb.runtime.history import Event, History, Listeners, VersionInfo
from exportweb.runtime.image_reader import Decode
from exportweb.runtime.jobs import Answer, Job
from exportweb.runtime.predictor import MAX_PIXELS, Predictor
from exportweb.runtime.sources import open_source
from exportweb.runtime.workers import Workers


class ServedModel:
    """One model, served from a file or the folder of a store, which may still be empty or not there yet.

    `device` is that of `Predictor.load`; `gpu_mem_limit` how many bytes of a GPU's memory a version may take (0: all); `cuda_graphs`
    whether it may use those where they are measured to be faster. `threads` is how many one run may use on the CPU (0: one, with as many
    runs at the same time as there are usable CPUs); `max_batch` the most images in one run (0: 4 on the CPU, 32 on a GPU); `max_queue`
    how many requests may wait; `max_pixels` the largest image, or the most values of arrays; `decoding` how JPEGs are decoded (see
    `Predictor`). `card` describes an ONNX file that has none (see `card_for_onnx`).

    >>> model = ServedModel("runs/flowers")  # doctest: +SKIP
    >>> model.start(wait=True)  # doctest: +SKIP
    >>> model.submit(jpeg, {"top_k": "3"}, done=print)  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        threads: int = 0,
        max_batch: int = 0,
        gpu_mem_limit: int = 0,
        cuda_graphs: bool = True,
        max_queue: int = 256,
        max_pixels: int = MAX_PIXELS,
        decoding: Decode = "exact",
        card: Card | None = None,
    ) -> None:
        cpus = usable_cpus()
        self._settings = Settings(
            device=device,
            threads=threads,
            max_batch=max_batch,
            gpu_mem_limit=gpu_mem_limit,
            cuda_graphs=cuda_graphs,
            cpus=cpus,
            decoding=decoding,
        )
        self._history = History()
        self._listeners = Listeners()
        self._workers = Workers(count=cpus, max_queue=max_queue, max_pixels=max_pixels)
        self._builder = Builder(
            open_source(path), self._workers, self._history, settings=self._settings, card=card, tell=self._listeners.tell
        )

    def start(self, wait: bool = False) -> None:
        """Start loading and watching. With `wait`, return when a version serves; raise the reason if the first one is rejected."""
        self._workers.start()
        self._builder.start()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Return when a version serves; raise the reason if the first one is rejected, or the model is closed."""
        self._builder.settled.wait()
        if self._builder.failure is not None and not self.ready:
            raise self._builder.failure

    def submit(self, data: bytes, params: Mapping[str, object], done: Callable[[Answer | Exception], None]) -> Job:
        """Ask for a prediction; `done` is called in a worker's thread with the answer, or with what went wrong.

        Never blocks. The job that is returned can be cancelled. Raises `Overloaded` if the queue is full or nothing is loaded,
        `BadParameter` for parameters that the task doesn't know.
        """
        predictor = self.predictor
        if predictor is None:
            raise Overloaded("No version is loaded yet; ask again in a moment.", retry_after=2)
        return self._workers.submit(data, predictor.task.params(params), done)

    @property
    def current(self) -> VersionInfo | None:
        """The version that answers now, None while there is none."""
        return self._builder.serving

    @property
    def predictor(self) -> Predictor | None:
        """The loaded version that answers now. Don't keep it: it holds the version's memory."""
        while (live := self._workers.current) is not None:
            predictor = live.loaded
            if predictor is not None:  # else it was swapped and released in between
                return predictor
        return None

    @property
    def ready(self) -> bool:
        """Whether a version serves; once one does, always."""
        return self._workers.current is not None

    def versions(self) -> list[VersionInfo]:
        """Return everything that was seen, oldest first; bounded, and kept after the store pruned it."""
        return self._history.list()

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Have `listener` called with each event, in the builder's thread; return what ends that."""
        return self._listeners.add(listener)

    def stats(self) -> dict[str, int]:
        """Return the queue's length, jobs in flight, workers, and how the running version is run; and counts since the start."""
        live, predictor = self._workers.current, self.predictor
        return {
            **self._workers.stats(),
            "threads": 0 if predictor is None else predictor.session.threads,
            "max_batch": 0 if live is None else live.plan.max_batch,
            "max_runs": 0 if live is None else live.plan.max_runs,
            "loaded": self._builder.loaded,
            "rejected": self._builder.rejected,
        }

    def close(self, grace: float = 10.0) -> None:
        """Finish what was accepted, for at most `grace` seconds, refuse the rest, and end all threads."""
        self._workers.close(grace)
        self._builder.stop()
        live = self._workers.swap(None)
        if live is not None and live.drained.is_set():
            live.release()
