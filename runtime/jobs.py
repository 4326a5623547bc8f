"""What travels through the scheduler: jobs, the batches they form, and the versions that they are bound to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from exportweb.runtime.predictor import Predictor
from exportweb.runtime.reader import Prepared
from exportweb.runtime.tuner import Tuning

log = logging.getLogger(__name__)


class Answer(msgspec.Struct, frozen=True):
    """What a version answered. `timings` are seconds by stage (queue, those of `Prepared`, inference, post); `batch` is how many
    requests its run held.
    """

    version: int
    result: Any
    timings: dict[str, float]
    batch: int


class Plan(NamedTuple):
    """How a version is run: images a batch at most, and for how many times as many that wait (`depth`), of more than `step` images a
    multiple of it; runs at the same time; whether preparing goes before running; and why, if it was measured.
    """

    max_batch: int
    max_runs: int
    prepare_first: bool
    depth: int = 1
    step: int = 1
    tuning: Tuning | None = None


class Live:
    """A loaded version in use, with the jobs that are bound to it counted.

    `drained` is set once it is retired and its last job has ended. Threads of the pool hold on to this, never to the predictor
    itself, so that whoever waits for `drained` and calls `release` frees the session in its own thread.
    """

    def __init__(self, predictor: Predictor, version: int, plan: Plan) -> None:
        self.version = version
        self.plan = plan
        self.jobs = 0
        self.retired = False
        self.drained = threading.Event()
        self._predictor: Predictor | None = predictor

    @property
    def predictor(self) -> Predictor:
        """The predictor; only for who has a job bound to this, or otherwise knows that it wasn't released."""
        assert self._predictor is not None
        return self._predictor

    @property
    def loaded(self) -> Predictor | None:
        """The predictor, None after `release`."""
        return self._predictor

    def run_as(self, predictor: Predictor, plan: Plan) -> None:
        """Run the same version in other sessions, or as another plan says, from now on."""
        if self._predictor is not None:
            self._predictor, self.plan = predictor, plan

    def release(self) -> None:
        """Let go of the predictor, and with it of the session's memory."""
        self._predictor = None


class Handed(NamedTuple):
    """An image that was prepared elsewhere, as bytes describe (see `runtime.preparation`), and had waited there for some seconds."""

    preparation: bytes
    prepared: Prepared
    waited: float


class OtherPreparation(Exception):
    """An image was prepared for another version; `wanted` describes how this one's are, None if they can't be elsewhere."""

    def __init__(self, wanted: bytes | None) -> None:
        super().__init__(wanted)
        self.wanted = wanted


class Job:
    """One image on its way: made by `Lane.submit`, ended by a call of `done`, or by `cancel`."""

    __slots__ = ("arrived", "cancelled", "data", "done", "live", "params", "prepared", "queue", "since", "size", "withdraw")

    def __init__(self, data: bytes, params: Any, done: Callable[[Answer | Exception], None], withdraw: Callable[[Job], None]) -> None:
        self.withdraw = withdraw
        self.data = data
        self.size = len(data)
        self.params = params
        self.done = done
        self.live: Live | None = None
        self.prepared: Prepared | None = None
        self.cancelled = False
        self.arrived = self.since = time.perf_counter()  # and when it began to wait where it is now
        self.queue = 0.0

    def cancel(self) -> None:
        """Say that nobody waits any more: what has not been computed yet won't be.

        `done` is not called afterwards, unless the answer was on its way already.
        """
        self.cancelled = True
        self.data = b""
        self.withdraw(self)

    def deliver(self, answer: Answer | Exception) -> None:
        """Call `done`, unless nobody waits any more."""
        if self.cancelled:
            return
        try:
            self.done(answer)
        except Exception:
            log.exception("The receiver of an answer failed.")


class Batch(NamedTuple):
    """Ready jobs of one version."""

    live: Live
    jobs: list[Job]
