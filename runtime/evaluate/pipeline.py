"""The pipeline that serves, without a server: the scheduler's threads, its batches and the task's answers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Any

from exportweb import artifact as artifacts
from exportweb.card import Card
from exportweb.errors import CardError, ExportwebError, Overloaded
from exportweb.runtime.evaluate.data import Example
from exportweb.runtime.jobs import Answer, Live
from exportweb.runtime.loader import Loader
from exportweb.runtime.predictor import Predictor, no_card
from exportweb.runtime.workers import Workers


class Pipeline:
    """One artifact, asked about many images by as many threads as there are CPUs.

    `card` is its own, with the names of the classes where nobody gave them any. The labels in answers are numbers, ``"0"``, ``"1"``, …,
    since two classes may have the same name. Options are those of `Predictor.load`; raises what that raises.

    >>> with Pipeline("resnet18.onnx") as pipeline:  # doctest: +SKIP
    ...     answers = list(pipeline.answers(examples, {"top_k": 5}))
    """

    def __init__(self, path: str | os.PathLike[str], *, device: str = "auto", trust_torchscript: bool = False) -> None:
        artifact = artifacts.read(path)
        artifacts.verify(artifact)
        if artifact.card is None:
            raise CardError(no_card(artifact))
        self.card: Card = artifact.card
        workers = Workers()
        loader = Loader(cpus=workers.count, device=device, budget=0, trust_torchscript=trust_torchscript)
        numbered = self.card.replace(labels=tuple(map(str, range(len(self.card.labels)))))
        self.predictor: Predictor
        self.predictor, plan = loader.load(path, numbered)
        if not self.card.labels:
            self.card = self.card.replace(labels=getattr(self.predictor.task, "labels", ()))
        self._depth = 2 * (plan.max_runs + 1) * max(plan.max_batch, workers.count)
        self._lane = workers.lane(max_queue=self._depth)
        self._lane.swap(Live(self.predictor, self.card.version or 1, plan))
        workers.start()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lane.close(grace=0)

    def answers(self, examples: Sequence[Example], asks: Mapping[str, object]) -> Iterator[tuple[Example, Any]]:
        """Yield each example with what the task answers to these parameters, or with the error that came instead, in order.

        Files are read, and images asked about, only a little ahead of what is taken.
        """
        params = self.predictor.task.params(asks)
        waiting: deque[tuple[Example, Future[Any]]] = deque()
        for example in examples:
            while len(waiting) >= self._depth:
                yield _taken(waiting)
            future: Future[Any] = Future()
            try:
                data = example.path.read_bytes()
                while (busy := self._submit(data, params, future)) and waiting:
                    yield _taken(waiting)
                if busy:  # though nothing is waited for
                    future.set_exception(busy)
            except (ExportwebError, OSError) as error:
                future.set_exception(error)
            waiting.append((example, future))
        while waiting:
            yield _taken(waiting)

    def _submit(self, data: bytes, params: Any, future: Future[Any]) -> Overloaded | None:
        def done(answer: Answer | Exception) -> None:
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer.result)

        try:
            self._lane.submit(data, params, done)
        except Overloaded as error:
            return error
        return None


def _taken(waiting: deque[tuple[Example, Future[Any]]]) -> tuple[Example, Any]:
    """Wait for the oldest answer. An error that isn't one image's own is raised."""
    example, future = waiting.popleft()
    wait([future])
    error = future.exception()
    if error is None:
        return example, future.result()
    if isinstance(error, ExportwebError | OSError):
        return example, error
    raise error
