"""Answering what fronts ask: a message in, a job for a model, and with what else is ready a message out."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
from collections.abc import Callable, Sequence

from exportweb.runtime import Answer, Handed, OtherPreparation, Prepared, ServedModel
from exportweb.web.fronts import channel
from exportweb.web.fronts.known import Known
from exportweb.web.fronts.slots import look
from exportweb.web.fronts.spawn import Spawned
from exportweb.web.metrics import Metrics
from exportweb.web.predict import content, requested
from exportweb.web.responses import failure

log = logging.getLogger(__name__)


class Answering:
    """Answers `fronts`, a list that changes, from models with their names; `soon` has a function called in the event loop, from any thread.

    Methods are for the event loop's thread.
    """

    def __init__(
        self,
        models: Sequence[tuple[str, ServedModel]],
        fronts: Sequence[Spawned],
        known: Known,
        metrics: Metrics,
        soon: Callable[[Callable[[], None]], None],
    ) -> None:
        self._models = models
        self._fronts = fronts
        self._known = known
        self._metrics = metrics
        self._soon = soon
        self._due = False  # `_flush` is going to be called

    def asked(self, front: Spawned, asked: channel.Asked) -> None:
        """Have an image that a front prepared answered; end a front that says what makes no sense."""
        try:
            arrays = look(front.memory, asked.arrays)
            handed = Handed(self._known.description(asked.preparation), Prepared(arrays, asked.stages, asked.size), asked.waited)
            _, model = self._models[asked.model]
        except (ValueError, TypeError, LookupError) as error:  # what an image did to it, its word is not to be trusted any more
            log.warning("A process that takes requests said nonsense and is ended: %s", error)
            with contextlib.suppress(OSError):
                os.kill(front.process, signal.SIGKILL)
            return
        done = functools.partial(self._done, front, asked.model, asked.id)
        try:
            job = model.submit(b"", asked.params, done, version=requested(asked.params), handed=handed)
        except OtherPreparation as other:
            if other.wanted is None:
                done(RuntimeError("The version takes no images that are prepared elsewhere."))
            else:
                self._put(front, asked.model, channel.Again(asked.id, self._known.number(other.wanted), other.wanted), None)
        except Exception as error:
            done(error)
        else:
            front.jobs[asked.id] = job
        self._flush_soon()  # there is less room now

    def told(self, told: channel.Told) -> None:
        """Count what a front has answered by itself."""
        name, model = self._models[told.model]
        for _ in range(told.count):
            self._metrics.count(("/predict", name), told.status)
        if told.status == 503:
            model.refused()

    def drop(self, front: Spawned, id: int, model: int | None, status: int) -> None:
        """Compute nothing for a request for whose answer nobody waits any more."""
        job = front.jobs.pop(id, None)
        if job is not None:
            job.cancel()
        if model is not None:
            self._metrics.count(("/predict", self._models[model][0]), status)

    def _done(self, front: Spawned, model: int, id: int, answer: Answer | Exception) -> None:
        """Have an answer told; in any thread."""
        try:
            if not isinstance(answer, Exception):
                kind, body = content(answer)
                self._put(front, model, channel.Answered(id, answer.version, kind, body, answer.timings), answer)
                return
            error = answer
        except Exception as unexpected:
            log.exception("An answer can't be written.")
            error = unexpected
        self._put(front, model, channel.Failed(id, *failure(error)), None)

    def _put(self, front: Spawned, model: int, answer: channel.Answered | channel.Failed | channel.Again, counted: Answer | None) -> None:
        front.outbox.append((model, answer, counted))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._due:
            self._due = True
            self._soon(self._flush)

    def _flush(self) -> None:
        """Tell the fronts all answers that are there, one message each."""
        self._due = False
        for front in self._fronts:
            answers = []
            while front.outbox:
                model, answer, counted = front.outbox.popleft()
                answers.append(answer)
                if isinstance(answer, channel.Again):
                    continue
                if front.jobs.pop(answer.id, None) is None and counted is not None:
                    continue  # nobody waits any more
                name, _ = self._models[model]
                if counted is not None:
                    self._metrics.of(name).observe(counted)
                self._metrics.count(("/predict", name), answer.status if isinstance(answer, channel.Failed) else 200)
            if answers and front.channel is not None:
                front.channel.send(channel.Answers(answers))
        self._known.show()
