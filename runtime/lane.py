"""A lane: what waits for one model, the versions that it has loaded, and what can be done for it next.

There are two queues: images to prepare (decode, resize) and prepared ones, ready to run. An image belongs to the version that is current
when its preparation begins, or to the one that its request names; one that comes prepared, to the one that is current then. A batch holds
one version only.

Which queue goes first depends on where runs happen. On a GPU, a run that can start does, and takes all that is ready: what it finds when it
is over is the next batch, which is begun before that if it is large. On the CPU, runs and preparation compete for the same cores, so
nothing is lost by preparing what waits until a batch is full, and a small model gains much by that. A big one gains little: its batches are
large only of a crowd, which waits anyway (`Plan.depth`). What has waited longer than all that is ready is prepared first anyway.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from exportweb.errors import NotFound, Overloaded
from exportweb.runtime.jobs import Answer, Batch, Handed, Job, Live, OtherPreparation, Plan
from exportweb.runtime.pace import Pace
from exportweb.runtime.room import Room

if TYPE_CHECKING:
    from exportweb.runtime.workers import Workers


class Lane:
    """One model's place in a pool; made by `Workers.lane`, which says what the options are.

    What begins with "The lock is held" is for the pool's threads.
    """

    def __init__(self, workers: Workers, *, max_queue: int, max_bytes: int, max_pixels: int, keep: int) -> None:
        self.max_pixels = max_pixels
        self.each = math.inf  # seconds that the last run took for an image
        self.used = 0.0  # seconds of workers; more than it had where others went on while it was idle
        self.closed = False
        self._workers = workers
        self._room = Room(max_queue)
        self._max_bytes = max_bytes
        self._keep = keep
        self._raw: deque[Job] = deque()
        self._ready: deque[Job] = deque()
        self._bytes = 0  # of bodies that wait in _raw
        self._preparing = self._running = self._unfinished = 0
        self._preparation = self._run = 0.0  # seconds that the last ones took
        self._runs = self._crowded = 0  # runs so far, and those that were not alone
        self._pace = Pace()
        self._current: Live | None = None
        self._loaded: Mapping[int, Live] = {}  # replaced, never changed: in the order in which they served last
        self._closing = False
        self._lock = workers.lock
        self._finished = threading.Condition(workers.lock)

    @property
    def current(self) -> Live | None:
        """The version that new jobs are answered by."""
        return self._current

    @property
    def loaded(self) -> Mapping[int, Live]:
        """The versions that can be asked, by number; the current one is the last."""
        return self._loaded

    def find(self, version: int) -> Live:
        """Return a loaded version; raise `NotFound` if it isn't."""
        live = self._loaded.get(version)
        if live is None:
            raise self._not_loaded(version)
        return live

    def submit(
        self,
        data: bytes,
        params: Any,
        done: Callable[[Answer | Exception], None],
        *,
        live: Live | None = None,
        handed: Handed | None = None,
    ) -> Job:
        """Queue an image, for the version that is current when its turn comes, or for this one; or one that is `handed` over prepared.

        `done` is called with its answer, or with what went wrong, in a thread of the pool. Never blocks. Raises `Overloaded` if the
        queue is full, no version is loaded, or the lane is closing, `NotFound` if the version isn't loaded any more, `OtherPreparation`
        if an image was prepared for another one.
        """
        job = Job(data, params, done, self._withdraw)
        with self._lock:
            if self._closing:
                raise closing()
            if self._current is None:
                raise Overloaded("No version is loaded yet; ask again in a moment.", retry_after=2)
            seconds = self.retry_after(1, job.size)
            if seconds:
                raise Overloaded(f"The queue is full ({self.waiting} images wait); ask again in {seconds} s.", retry_after=seconds)
            if live is not None and live.retired:
                raise self._not_loaded(live.version)
            if handed is not None:
                live = live or self._current
                if live.predictor.preparation != handed.preparation:
                    raise OtherPreparation(live.predictor.preparation)
                job.prepared, job.queue = handed.prepared, handed.waited
            if live is not None:
                self._bind(job, live)
            if handed is not None:
                self._ready.append(job)
            else:
                self._raw.append(job)
                self._bytes += job.size
            if not self._unfinished:
                self._workers.enter(self)
            self._unfinished += 1
            self._workers.wake(self)
        return job

    @property
    def waiting(self) -> int:
        """How many jobs wait. Takes no lock: who asks before a request is read can do with an answer that is a moment old."""
        return len(self._raw) + len(self._ready)

    @property
    def room(self) -> tuple[int, int]:
        """How many more jobs the queue has room for, and after how many seconds to ask again where there is none. Takes no lock, either."""
        waiting, rate = self.waiting, self._pace.rate
        return max(0, math.ceil(self._room.most(rate) - waiting)), max(1, math.ceil(waiting / rate))

    def refused(self) -> None:
        """Know that a request was refused elsewhere for want of room."""
        self._room.refused()

    @property
    def full(self) -> bool:
        """Whether the queue has no room for a job. Takes no lock, either."""
        return self.waiting >= self._room.most(self._pace.rate)

    def retry_after(self, count: int, size: int) -> int:
        """Return 0 if the queue has room for so many jobs with bodies of `size` bytes together, or else after how many seconds it may: then
        the last of them is refused. Takes no lock, either.
        """
        before, rate = self.waiting + count - 1, self._pace.rate
        if not before or (before < self._room.most(rate) and self._bytes + size <= self._max_bytes):
            return 0
        self._room.refused()
        return max(1, math.ceil(before / rate))

    def swap(self, live: Live | None) -> list[Live]:
        """Answer from this version from now on, None for none.

        Returns the versions that are no longer loaded, retired, each to be released once it is drained.
        """
        with self._lock:
            loaded = dict(self._loaded)
            retired = []
            if live is None:
                retired = list(loaded.values())
                loaded = {}
            else:
                before = loaded.pop(live.version, live)
                loaded[live.version] = live
                retired = [loaded.pop(number) for number in list(loaded)[: -self._keep]]
                if before is not live:
                    retired.append(before)
            self._current, self._loaded = live, loaded
            for old in retired:
                old.retired = True
                if old.jobs == 0:
                    old.drained.set()
        return retired

    def stats(self) -> dict[str, int]:
        """Return how many jobs wait (`queue`, of `queue_bytes`), and how many are being prepared or run (`in_flight`)."""
        with self._lock:
            queue = self.waiting
            return {"queue": queue, "in_flight": self._unfinished - queue, "queue_bytes": self._bytes}

    def disturbance(self) -> Callable[[], bool]:
        """Return what says whether the pool has had anything to do since this was called."""
        taken = self._workers.taken
        return lambda: self._closing or self._workers.taken != taken

    def turn(self) -> AbstractContextManager[None]:
        """Return a block that has the machine to itself (see `Workers.turn`)."""
        return self._workers.turn()

    def company(self) -> Callable[[], bool]:
        """Return what says whether most runs since this was called had something going on beside them."""
        runs, crowded = self._runs, self._crowded
        return lambda: 2 * (self._crowded - crowded) > self._runs - runs

    def close(self, grace: float = 10.0) -> None:
        """Finish what was accepted, for at most `grace` seconds; refuse what is left; leave the pool."""
        with self._lock:
            self._closing = True
            self._finished.wait_for(lambda: self._unfinished == 0, grace)
            left = [*self._raw, *self._ready]
            self._raw.clear()
            self._ready.clear()
            self._bytes = 0
            self.closed = True
        for job in left:
            job.deliver(closing())
        with self._lock:
            self.ended(left)
        self._workers.leave(self)

    # -- for the pool's threads --------------------------------------------------------------------------------------

    def due(self) -> float:
        """Return the seconds of workers that this lane has had, with what it is likely to have for what is going on. The lock is held."""
        return self.used + self._preparing * self._preparation + self._running * self._run

    def has_work(self) -> bool:
        """Whether there is anything to do. The lock is held."""
        return self._can_run() or self._can_prepare()

    def next(self) -> Job | Batch | None:
        """Take the next job to prepare, or the next batch to run. The lock is held."""
        if self._can_run() and not (self._can_prepare() and self._prepares_first()):
            return self._take_batch()
        return self._take_raw() if self._can_prepare() else None

    def prepared(self, job: Job | None, seconds: float) -> None:
        """Count the end of a preparation; put its job, if something came of it, among the ready ones. The lock is held."""
        self._preparing -= 1
        self._preparation = seconds
        self.used += seconds
        if job is not None:
            self._ready.append(job)

    def ran(self, seconds: float, jobs: int, *, alone: bool) -> None:
        """Count the end of a run of so many jobs. The lock is held."""
        self._running -= 1
        self._runs += 1
        self._crowded += not alone
        self._pace.count(jobs, now=time.perf_counter(), busy=bool(self._raw or self._ready))
        self._run = seconds
        if jobs:  # else all of them were withdrawn
            self.each = seconds / jobs
        self.used += seconds

    def ended(self, jobs: list[Job]) -> None:
        """Count jobs as finished, and drain the versions that waited for them. The lock is held."""
        self._unfinished -= len(jobs)
        for job in jobs:
            live, job.live, job.prepared = job.live, None, None
            if live is not None:
                live.jobs -= 1
                if live.retired and live.jobs == 0:
                    live.drained.set()
        if self._unfinished == 0:
            self._finished.notify_all()

    def _withdraw(self, job: Job) -> None:
        """Take a job that nobody waits for any more out of the queue, where it would only take another's place."""
        with self._lock:
            if job in self._raw:  # else it is being prepared or run
                self._raw.remove(job)
                self._bytes -= job.size
                if not self._raw and not self._ready:
                    self._pace.pause()
                self.ended([job])

    # -- what can be done --------------------------------------------------------------------------------------------

    def _can_run(self) -> bool:
        """Whether a run can start. Of a GPU's two, the second would wait for the first, so it begins only if it is large: more may come."""
        if not self._ready:
            return False
        plan = self._ready_first()
        alone = 2 * self._running < plan.max_runs  # on one of the GPUs
        return self._running < plan.max_runs and (plan.prepare_first or alone or 2 * len(self._ready) >= plan.max_batch)

    def _can_prepare(self) -> bool:
        """Whether an image waits, and not so many are ready that a swap would find a long tail; or it has waited longer than those."""
        if not self._raw or self._current is None:
            return False
        plan = self._current.plan
        return self._overtaken() or len(self._ready) + self._preparing < (plan.max_runs + 1) * max(plan.max_batch, self._workers.count)

    def _overtaken(self) -> bool:
        """Whether what is ready came, prepared, after an image that waits."""
        return bool(self._ready) and self._raw[0].arrived < self._ready[0].arrived

    def _prepares_first(self) -> bool:
        """Whether preparing goes before running, where both can be done."""
        return self._overtaken() or (self._ready_first().prepare_first and len(self._ready) < self._ready_first().max_batch)

    def _ready_first(self) -> Plan:
        live = self._ready[0].live
        assert live is not None
        return live.plan

    def _take_raw(self) -> Job:
        """Take the next image, and bind it to the current version if it isn't bound yet."""
        job = self._raw.popleft()
        self._bytes -= job.size
        self._preparing += 1
        if job.live is None:
            assert self._current is not None
            self._bind(job, self._current)
        return job

    def _bind(self, job: Job, live: Live) -> None:
        job.live = live
        live.jobs += 1

    def _take_batch(self) -> Batch:
        """Take what is ready and belongs to the same version as the first, oldest first."""
        live = self._ready[0].live
        assert live is not None
        count = live.plan.max_batch
        if live.plan.prepare_first:  # leave their share to the other runs that could go now, on other cores
            work = len(self._ready) + self._preparing + len(self._raw)
            count = min(count, -(-work // (live.plan.depth * (live.plan.max_runs - self._running))))
        if len(self._ready) > live.plan.step:  # what is left goes with the next ones, rather than that this batch is filled up in vain
            count = min(count, len(self._ready) // live.plan.step * live.plan.step)
        self._running += 1
        jobs: list[Job] = []
        others: list[Job] = []
        while self._ready and len(jobs) < count:
            job = self._ready.popleft()
            (jobs if job.live is live else others).append(job)
        self._ready.extendleft(reversed(others))
        return Batch(live, jobs)

    def _not_loaded(self, version: int) -> NotFound:
        numbers = ", ".join(map(str, sorted(self._loaded))) or "none"
        return NotFound(f"Version {version} isn't loaded. Loaded: {numbers}; --keep-loaded N keeps the last N.")


def closing() -> Overloaded:
    """Return what is said to who comes too late."""
    return Overloaded("The server is shutting down; ask again in a moment.", retry_after=5)
