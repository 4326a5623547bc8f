"""The scheduler: equal threads that prepare images and run batches, and no timer anywhere.

There are two queues: images to prepare (decode, resize) and prepared ones, ready to run. A worker that is free takes from one of
them, or sleeps when both are empty. So an idle server answers at once, a busy one batches by itself, and no request waits for
anything but a free worker. An image belongs to the version that is current when its preparation begins; a batch holds one
version only.

Which queue goes first depends on where runs happen. On a GPU, a run that can start does, and takes all that is ready: what it
finds when it is over is the next batch. On the CPU, runs and preparation compete for the same cores, so nothing is lost by preparing
what waits until a batch is full: on two cores, mobilenetv3_small_050 answered 330 images/s in batches of 4 so, against 260 when
runs went first and every batch was 1. A big model (resnet50) gains nothing from batches there, and loses nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from exportweb.errors import ExportwebError, Overloaded, RequestError
from exportweb.runtime.jobs import Answer, Batch, Job, Live, Plan
from exportweb.runtime.predictor import MAX_PIXELS
from exportweb.runtime.reader import Row

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 << 20
"""Request bodies that may wait in one queue, in bytes: about a second's work in photos of a phone."""


class Workers:
    """`count` threads that answer jobs with the current version.

    `max_queue` jobs and `max_bytes` of their bodies may wait; one job always may.
    """

    def __init__(
        self,
        *,
        count: int,
        max_queue: int = 256,
        max_bytes: int = MAX_WAITING_BYTES,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.count = count
        self._max_queue = max_queue
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._raw: deque[Job] = deque()
        self._ready: deque[Job] = deque()
        self._bytes = 0  # of bodies that wait in _raw
        self._preparing = self._running = self._idle = self._unfinished = 0
        self._current: Live | None = None
        self._closing = self._stopped = False
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._finished = threading.Condition(lock)
        self._threads = [threading.Thread(target=self._loop, name=f"exportweb-worker-{i}", daemon=True) for i in range(count)]

    @property
    def current(self) -> Live | None:
        """The version that new jobs are answered by."""
        return self._current

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, data: bytes, params: Any, done: Callable[[Answer | Exception], None]) -> Job:
        """Queue an image; `done` is called with its answer, or with what went wrong, in a thread of the pool.

        Never blocks. Raises `Overloaded` if the queue is full, no version is loaded, or the pool is closing.
        """
        job = Job(data, params, done)
        with self._work:
            if self._closing:
                raise _closing()
            if self._current is None:
                raise Overloaded("No version is loaded yet; ask again in a moment.", retry_after=2)
            waiting = len(self._raw) + len(self._ready)
            if waiting and (waiting >= self._max_queue or self._bytes + job.size > self._max_bytes):
                raise Overloaded(f"The queue is full ({waiting} images wait); ask again in a moment.")
            self._raw.append(job)
            self._bytes += job.size
            self._unfinished += 1
            self._wake()
        return job

    def swap(self, live: Live | None) -> Live | None:
        """Answer from this version from now on; return the one before, retired, to be released once it is drained."""
        with self._work:
            old, self._current = self._current, live
            if old is not None:
                old.retired = True
                if old.jobs == 0:
                    old.drained.set()
        return old

    def stats(self) -> dict[str, int]:
        """Return how many jobs wait (`queue`), how many are being prepared or run (`in_flight`), and the pool's settings."""
        with self._work:
            queue = len(self._raw) + len(self._ready)
            return {
                "queue": queue,
                "in_flight": self._unfinished - queue,
                "queue_bytes": self._bytes,
                "workers": self.count,
            }

    def close(self, grace: float = 10.0) -> None:
        """Finish what was accepted, for at most `grace` seconds; refuse what is left; end the threads."""
        with self._work:
            self._closing = True
            self._finished.wait_for(lambda: self._unfinished == 0, grace)
            left = [*self._raw, *self._ready]
            self._raw.clear()
            self._ready.clear()
            self._bytes = 0
            self._stopped = True
            self._work.notify_all()
        for job in left:
            self._deliver(job, _closing())
        self._end(left)
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(timeout=1.0)  # one that is inside a long run is left behind; it is a daemon

    # -- the threads -------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while (work := self._take()) is not None:
            if isinstance(work, Job):
                self._prepare(work)
            else:
                self._run(work)
            del work  # a thread that sleeps holds on to nothing

    def _take(self) -> Job | Batch | None:
        """Wait for something to do; None when the pool has stopped."""
        with self._work:
            while not self._stopped:
                work = self._next()
                if work is not None:
                    self._wake()
                    return work
                self._idle += 1
                self._work.wait()
                self._idle -= 1
        return None

    def _next(self) -> Job | Batch | None:
        """Take the next job to prepare or the next batch to run. The lock is held."""
        if self._can_run() and not (self._can_prepare() and self._ready_first().prepare_first and not self._full()):
            return self._take_batch()
        return self._take_raw() if self._can_prepare() else None

    def _can_run(self) -> bool:
        return bool(self._ready) and self._running < self._ready_first().max_runs

    def _can_prepare(self) -> bool:
        """Whether an image waits, and not so many are ready already that a swap would find a long tail."""
        if not self._raw or self._current is None:
            return False
        plan = self._current.plan
        return len(self._ready) + self._preparing < (plan.max_runs + 1) * max(plan.max_batch, self.count)

    def _full(self) -> bool:
        return len(self._ready) >= self._ready_first().max_batch

    def _ready_first(self) -> Plan:
        live = self._ready[0].live
        assert live is not None
        return live.plan

    def _wake(self) -> None:
        """Wake one sleeper if there is work for it. The lock is held. Each that wakes wakes the next, as long as there is."""
        if self._idle and (self._can_run() or self._can_prepare()):
            self._work.notify()

    def _take_raw(self) -> Job:
        """Take the next image to prepare, and bind it to the current version."""
        job = self._raw.popleft()
        self._bytes -= job.size
        self._preparing += 1
        assert self._current is not None
        job.live = self._current
        job.live.jobs += 1
        return job

    def _take_batch(self) -> Batch:
        """Take what is ready and belongs to the same version as the first, oldest first."""
        live = self._ready[0].live
        assert live is not None
        count = live.plan.max_batch
        if live.plan.prepare_first:  # leave their share to the other runs that could go now, on other cores
            work = len(self._ready) + self._preparing + len(self._raw)
            count = min(count, -(-work // (live.plan.max_runs - self._running)))
        self._running += 1
        jobs: list[Job] = []
        others: list[Job] = []
        while self._ready and len(jobs) < count:
            job = self._ready.popleft()
            (jobs if job.live is live else others).append(job)
        self._ready.extendleft(reversed(others))
        return Batch(live, jobs)

    def _prepare(self, job: Job) -> None:
        """Decode and resize one image, and put it among the ready ones."""
        start = time.perf_counter()
        job.queue = start - job.since
        failure: Exception | None = None
        if not job.cancelled:
            try:
                assert job.live is not None
                job.prepared = job.live.predictor.prepare(job.data, max_pixels=self._max_pixels)
            except Exception as error:  # whatever an image does, it costs only its own request
                failure = bare(error)
        job.data = b""
        job.since = time.perf_counter()
        with self._work:
            self._preparing -= 1
            if self._stopped and failure is None:
                failure = _closing()
            ready = failure is None and not job.cancelled
            if ready:
                self._ready.append(job)  # this thread looks at it next, so nobody needs to be woken
        if failure is not None:
            self._deliver(job, failure)
        if not ready:
            self._end([job])

    def _run(self, batch: Batch) -> None:
        """Run one batch and deliver its answers."""
        live, jobs = batch.live, [job for job in batch.jobs if not job.cancelled]
        start = time.perf_counter()
        rows: Sequence[Row | Exception] = []
        try:
            rows = self._infer(live, jobs)
        finally:
            with self._work:
                self._running -= 1
                self._wake()
        inference = time.perf_counter() - start
        for job, row in zip(jobs, rows, strict=True):
            self._deliver(job, self._answer(live, job, row, start, inference, len(jobs)))
        self._end(batch.jobs)

    def _infer(self, live: Live, jobs: list[Job]) -> Sequence[Row | Exception]:
        """Run the graph; where a batch of several fails, run them one by one, so that a bad one costs only itself."""
        if not jobs:
            return []
        try:
            return live.predictor.infer([job.prepared for job in jobs if job.prepared is not None])
        except Exception as error:
            if len(jobs) == 1:
                return [bare(error)]
            log.warning("A batch of %d failed; running its images one by one.", len(jobs))
        return [row for job in jobs for row in self._infer(live, [job])]

    def _answer(self, live: Live, job: Job, row: Row | Exception, start: float, inference: float, batch: int) -> Answer | Exception:
        if isinstance(row, Exception):
            return row
        assert job.prepared is not None
        begin = time.perf_counter()
        try:
            result = live.predictor.task.answer(row, job.params, job.prepared)
        except Exception as error:
            return bare(error)
        timings = {
            "queue": job.queue + start - job.since,
            **job.prepared.stages,
            "inference": inference,
            "post": time.perf_counter() - begin,
        }
        return Answer(live.version, result, timings, batch)

    def _deliver(self, job: Job, answer: Answer | Exception) -> None:
        if job.cancelled:
            return
        try:
            job.done(answer)
        except Exception:
            log.exception("The receiver of an answer failed.")

    def _end(self, jobs: list[Job]) -> None:
        """Count jobs as finished, and drain the versions that waited for them."""
        with self._work:
            self._unfinished -= len(jobs)
            for job in jobs:
                live, job.live, job.prepared = job.live, None, None
                if live is not None:
                    live.jobs -= 1
                    if live.retired and live.jobs == 0:
                        live.drained.set()
            if self._unfinished == 0:
                self._finished.notify_all()


def _closing() -> Overloaded:
    return Overloaded("The server is shutting down; ask again in a moment.", retry_after=5)


def bare(error: Exception) -> Exception:
    """Log an error that is not the client's; return it without its frames."""
    if not isinstance(error, RequestError):
        log.error("A prediction failed: %s", error, exc_info=None if isinstance(error, ExportwebError) else error)
    return without_frames(error)


def without_frames(error: Exception) -> Exception:
    """Take away an error's tracebacks, and those of its causes: their frames would keep a version's memory as long as it lives."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
