"""The scheduler: equal threads that prepare images and run batches, and no timer anywhere.

A worker that is free takes what one of the models has to do, or sleeps when none has anything. So an idle server answers at once, a
busy one batches by itself, and no request waits for anything but a free worker.

Models share the workers by time, not by count: the one that has had the fewest seconds goes first. Time in which a model had nothing
to do is not saved up for later. So however much waits for one model, a request for another waits for what is going on, and then goes
first.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence

from exportweb.errors import ExportwebError, RequestError
from exportweb.runtime.cpus import usable_cpus
from exportweb.runtime.jobs import Answer, Batch, Job, Live
from exportweb.runtime.lane import Lane, closing
from exportweb.runtime.predictor import MAX_PIXELS
from exportweb.runtime.reader import Row
from exportweb.runtime.seat import Seat
from exportweb.runtime.sleepers import Sleepers

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 << 20
"""Request bodies that may wait in one queue, in bytes: about a second's work in photos of a phone."""

_MOMENT = 0.001
"""Seconds for which an answer waits for the next ones of its batch: for each that comes by itself, the event loop would take the GIL from
who makes the next."""


class Workers:
    """`count` threads (0: as many as there are usable CPUs) that models share. They end when the last model has left.

    >>> workers = Workers()  # doctest: +SKIP
    >>> models = [ServedModel(path, workers=workers) for path in ("runs/cats", "runs/dogs")]  # doctest: +SKIP
    """

    def __init__(self, count: int = 0) -> None:
        self.count = count or usable_cpus()
        self.lock = threading.Lock()
        self._sleepers = Sleepers(self.lock)
        self._lanes: list[Lane] = []
        self._clock = 0.0  # the seconds that the lane which was served last had had
        self._idle = 0
        self._turns = 0  # of who wants the machine to themselves
        self._quiet = threading.Condition(self.lock)
        self.taken = 0  # how often a thread took something to do
        self._started = self._stopped = False
        self._threads = [
            threading.Thread(target=self._loop, args=(i,), name=f"exportweb-worker-{i}", daemon=True) for i in range(self.count)
        ]

    def lane(self, *, max_queue: int = 256, max_bytes: int = MAX_WAITING_BYTES, max_pixels: int = MAX_PIXELS, keep: int = 1) -> Lane:
        """Make a place for a model.

        `max_queue` jobs and `max_bytes` of their bodies may wait, and of slow ones only as many as are done in less than two seconds; one
        job always may. An image has at most `max_pixels`, arrays as many values. The last `keep` versions that served stay loaded.
        """
        lane = Lane(self, max_queue=max_queue, max_bytes=max_bytes, max_pixels=max_pixels, keep=keep)
        with self.lock:
            self._lanes.append(lane)
        return lane

    @property
    def shared(self) -> bool:
        """Whether several models have a place."""
        return len(self._lanes) > 1

    def start(self) -> None:
        """Start the threads, unless they run."""
        with self.lock:
            started, self._started = self._started, True
        if not started:
            for thread in self._threads:
                thread.start()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Have the machine to oneself: what is going on is finished before the block begins, and nothing else is begun until it ends.

        Then this waits for as long again as the block took: so whoever takes turns has half of the time at most.
        """
        with self.lock:
            self._turns += 1
            self._quiet.wait_for(lambda: self._stopped or self._idle == self.count)
        start = time.perf_counter()
        try:
            yield
        finally:
            with self.lock:
                self._turns -= 1
                self._sleepers.wake_all()
            time.sleep(time.perf_counter() - start)

    # -- for lanes ---------------------------------------------------------------------------------------------------

    def enter(self, lane: Lane) -> None:
        """Have a lane that was idle take part again: from now on, as if it had had what the others had. The lock is held."""
        lane.used = max(lane.used, self._clock)

    def wake(self, lane: Lane) -> None:
        """Wake one sleeper if there is work for it. The lock is held. Each that wakes wakes the next, as long as there is."""
        if self._idle and lane.has_work():
            self._sleepers.wake()

    def leave(self, lane: Lane) -> None:
        """Forget a lane; end the threads after the last one."""
        with self.lock:
            if lane in self._lanes:
                self._lanes.remove(lane)
            self._stopped = not self._lanes
            self._sleepers.wake_all()
            self._quiet.notify_all()
        if self._stopped:
            for thread in self._threads:
                if thread.is_alive() and thread is not threading.current_thread():
                    thread.join(timeout=1.0)  # one that is inside a long run is left behind; it is a daemon

    # -- the threads -------------------------------------------------------------------------------------------------

    def _loop(self, number: int) -> None:
        seat = Seat(number, self.count)
        while (taken := self._take(seat)) is not None:
            lane, work = taken
            live = work.live
            # Not a thread whose runs may have threads of their own, which PyTorch starts when the first one needs them.
            if self._idle == 0 and live is not None and live.plan.max_runs >= self.count:
                seat.take()
            else:
                seat.leave()
            if isinstance(work, Batch):
                self._run(lane, work)
            else:
                self._prepare(lane, work)
            del taken, lane, work, live  # a thread that sleeps holds on to nothing

    def _take(self, seat: Seat) -> tuple[Lane, Job | Batch] | None:
        """Wait for something to do; None when the pool has stopped."""
        with self.lock:
            while not self._stopped:
                taken = None if self._turns else self._next()
                if taken is not None:
                    self.taken += 1
                    if self._idle and any(lane.has_work() for lane in self._lanes):
                        self._sleepers.wake()
                    return taken
                self._idle += 1
                seat.leave()
                self._quiet.notify_all()
                self._sleepers.sleep()
                self._idle -= 1
        return None

    def _next(self) -> tuple[Lane, Job | Batch] | None:
        """Take something from the lane that has had the fewest seconds. The lock is held."""
        for lane in self._lanes if len(self._lanes) == 1 else sorted(self._lanes, key=Lane.due):
            work = lane.next()
            if work is not None:
                self._clock = lane.used
                return lane, work
        return None

    def _prepare(self, lane: Lane, job: Job) -> None:
        """Decode and resize an image, and put it among the ready ones."""
        start = time.perf_counter()
        job.queue = start - job.since
        error: Exception | None = None
        if not job.cancelled:
            assert job.live is not None
            try:
                job.prepared = job.live.predictor.prepare(job.data, max_pixels=lane.max_pixels)
            except Exception as failure:  # whatever an image does, it costs only its own request
                error = bare(failure)
        job.data, job.since = b"", time.perf_counter()
        with self.lock:
            ready = job.prepared is not None and not job.cancelled
            if ready and lane.closed:
                ready, error = False, closing()
            lane.prepared(job if ready else None, job.since - start)  # this thread looks next, so nobody needs to be woken
        if error is not None:
            job.deliver(error)
        if not ready:
            with self.lock:
                lane.ended([job])

    def _run(self, lane: Lane, batch: Batch) -> None:
        """Run one batch and deliver its answers."""
        live, jobs = batch.live, [job for job in batch.jobs if not job.cancelled]
        alone = self._idle == self.count - 1
        start = time.perf_counter()
        rows: Sequence[Row | Exception] = []
        try:
            rows = self._infer(live, jobs, alone)
        finally:
            end = time.perf_counter()
            with self.lock:
                lane.ran(end - start, len(jobs), alone=alone)
                self.wake(lane)
        answered: list[tuple[Job, Answer | Exception]] = []
        since = end
        for job, row in zip(jobs, rows, strict=True):
            answered.append((job, self._answer(live, job, row, start, end - start, len(jobs))))
            if time.perf_counter() - since > _MOMENT:
                since = self._deliver(answered)
        self._deliver(answered)
        with self.lock:
            lane.used += time.perf_counter() - end
            lane.ended(batch.jobs)

    def _deliver(self, answered: list[tuple[Job, Answer | Exception]]) -> float:
        """Hand answers over, and return when; the list is empty then."""
        for job, answer in answered:
            job.deliver(answer)
        answered.clear()
        return time.perf_counter()

    def _infer(self, live: Live, jobs: list[Job], alone: bool) -> Sequence[Row | Exception]:
        """Run the graph; where a batch of several fails, run them one by one, so that a bad one costs only itself."""
        if not jobs:
            return []
        try:
            return live.predictor.infer([job.prepared for job in jobs if job.prepared is not None], alone=alone)
        except Exception as error:
            if len(jobs) == 1:
                return [bare(error)]
            log.warning("A batch of %d failed; running its images one by one.", len(jobs))
        return [row for job in jobs for row in self._infer(live, [job], alone)]

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


def bare(error: Exception) -> Exception:
    """Log an error that is not the client's; return it without its frames."""
    if not isinstance(error, RequestError):
        log.error("A prediction failed: %s", error, exc_info=None if isinstance(error, ExportwebError) else error)
    return without_frames(error)


def without_frames(error: Exception) -> Exception:
    """Take away an error's tracebacks, and those of its causes: their frames would keep a version's memory as long as it lives."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
