"""A served model: a path in, predictions out, whatever versions come and go behind it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from exportweb.card import Card
from exportweb.errors import Overloaded
from exportweb.runtime.builder import Builder
from exportweb.runtime.history import Event, History, Listeners, VersionInfo
from exportweb.runtime.jobs import Answer, Handed, Job
from exportweb.runtime.loader import Loader
from exportweb.runtime.predictor import MAX_PIXELS, Predictor
from exportweb.runtime.preparation import Decode
from exportweb.runtime.sources import open_source
from exportweb.runtime.tuner import BUDGET, Tuning
from exportweb.runtime.workers import Workers


class ServedModel:
    """One model, served from a file or the folder of a store, which may still be empty or not there yet.

    `device` is that of `Predictor.load`; `gpu_mem_limit` how many bytes of a GPU's memory a version may take (0: all); `cuda_graphs`
    whether it may use those where they are measured to be faster. `threads` is how many one run may use on the CPU, `max_batch` the most
    images in one run; 0 is what is quickest here, measured for `tuning_budget` seconds at most, once the first version serves. `max_queue`
    is how many requests may wait; `max_pixels` the largest image, or the most values of arrays; `decoding` how JPEGs are decoded (see
    `Predictor`); `keep_loaded` how many versions stay loaded, the running one included. `card` describes an ONNX file that has none
    (see `card_for_onnx`). `workers` are threads that several models share fairly; without them a model has its own. TorchScript versions
    are rejected unless `trust_torchscript` says that whoever can write them may run code here.

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
        keep_loaded: int = 1,
        tuning_budget: float = BUDGET,
        decoding: Decode = "exact",
        card: Card | None = None,
        workers: Workers | None = None,
        trust_torchscript: bool = False,
    ) -> None:
        self._workers = workers or Workers()
        loader = Loader(
            cpus=self._workers.count,
            device=device,
            threads=threads,
            max_batch=max_batch,
            gpu_mem_limit=gpu_mem_limit,
            cuda_graphs=cuda_graphs,
            decoding=decoding,
            budget=tuning_budget,
            shared=lambda: self._workers.shared,
            trust_torchscript=trust_torchscript,
        )
        self._history = History()
        self._listeners = Listeners()
        source = open_source(path, keep=keep_loaded)
        self._lane = self._workers.lane(max_queue=max_queue, max_pixels=max_pixels, keep=keep_loaded)
        self._builder = Builder(source, self._lane, self._history, loader=loader, card=card, tell=self._listeners.tell)

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

    def submit(
        self,
        data: bytes,
        params: Mapping[str, object],
        done: Callable[[Answer | Exception], None],
        *,
        version: int | None = None,
        handed: Handed | None = None,
    ) -> Job:
        """Ask the newest version, or a loaded one by its number, for a prediction: about `data`, or an image that is `handed`
        over prepared.

        `done` is called in a worker's thread with the answer, or with what went wrong. Never blocks. The job that is returned can be
        cancelled. Raises `Overloaded` if the queue is full or nothing is loaded, `NotFound` if the version isn't loaded, `BadParameter`
        for parameters that the task doesn't know, `OtherPreparation` for an image that was prepared for another version.
        """
        live = None if version is None else self._lane.find(version)
        predictor = self.predictor if live is None else live.loaded
        if predictor is None:
            raise Overloaded("No version is loaded yet; ask again in a moment.", retry_after=2)
        return self._lane.submit(data, predictor.task.params(params), done, live=live, handed=handed)

    @property
    def full(self) -> bool:
        """Whether `submit` would refuse any more now."""
        return self._lane.full

    @property
    def max_pixels(self) -> int:
        """The pixels of the largest image that is answered."""
        return self._lane.max_pixels

    @property
    def room(self) -> tuple[int, int]:
        """How many more requests `submit` would take now, and after how many seconds to ask again where that is none."""
        return self._lane.room

    def refused(self) -> None:
        """Know that a request was refused elsewhere because there was no room for it."""
        self._lane.refused()

    def retry_after(self, count: int, size: int) -> int:
        """Return 0 if `submit` would take so many bodies of `size` bytes together now, or else after how many seconds it may."""
        return self._lane.retry_after(count, size)

    @property
    def current(self) -> VersionInfo | None:
        """The version that answers now, None while there is none."""
        return self._builder.serving

    @property
    def predictor(self) -> Predictor | None:
        """The loaded version that answers now. Don't keep it: it holds the version's memory."""
        while (live := self._lane.current) is not None:
            predictor = live.loaded
            if predictor is not None:  # else it was swapped and released in between
                return predictor
        return None

    @property
    def ready(self) -> bool:
        """Whether a version serves; once one does, always."""
        return self._lane.current is not None

    @property
    def loaded(self) -> list[int]:
        """The numbers of the versions that can be asked, ascending."""
        return sorted(self._lane.loaded)

    def versions(self) -> list[VersionInfo]:
        """Return everything that was seen, oldest first; bounded, and kept after the store pruned it."""
        return self._history.list()

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Have `listener` called with each event, in the builder's thread; return what ends that."""
        return self._listeners.add(listener)

    @property
    def tuning(self) -> Tuning | None:
        """How the running version is run, and why; None if that wasn't measured."""
        live = self._lane.current
        return None if live is None else live.plan.tuning

    def stats(self) -> dict[str, int]:
        """Return the queue's length, jobs in flight, workers, and how the running version is run; counts since the start."""
        live, predictor = self._lane.current, self.predictor
        return {
            **self._lane.stats(),
            "workers": self._workers.count,
            "threads": 0 if predictor is None else predictor.session.threads,
            "max_batch": 0 if live is None else live.plan.max_batch,
            "max_runs": 0 if live is None else live.plan.max_runs,
            "loaded": self._builder.loaded,
            "rejected": self._builder.rejected,
        }

    def close(self, grace: float = 10.0) -> None:
        """Finish what was accepted, for at most `grace` seconds, refuse the rest, and end all threads."""
        self._lane.close(grace)
        self._builder.stop()
        for live in self._lane.swap(None):
            if live.drained.is_set():
                live.release()
