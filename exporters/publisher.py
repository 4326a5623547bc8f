"""The publisher: a thread that writes versions beside the training, one at a time, the latest first."""

from __future__ import annotations

import logging
import threading
import time
from typing import BinaryIO, NamedTuple

from exportweb.card import Card
from exportweb.errors import ExportwebError, Rejected, StoreError, StoreLocked
from exportweb.exporters.beside import yield_to_training
from exportweb.exporters.pace import Pace
from exportweb.exporters.traced import Traced
from exportweb.exporters.weights import Snapshot, Weights
from exportweb.memory import give_back
from exportweb.ranking import metric_of
from exportweb.store import Store

log = logging.getLogger("exportweb")
_PAUSE, _LONGEST = 1.0, 30.0  # seconds before a version that the store did not take is tried again: the first time, and at most


class Job(NamedTuple):
    """A version to be published: a graph, the weights to put into it, and what the card says."""

    graph: Traced
    snapshot: Snapshot
    card: Card


class Publisher:
    """Publishes versions into a store from a thread of low priority.

    The caller pays for one copy of the weights. While a version is being written, and while the training is left alone after it (see
    `Pace`), the next one waits, and one that is newer takes its place: a slow disk never slows training, it skips versions and says so. Two
    snapshots are all the memory that takes. What the store did not take is tried again after a pause, which grows, until it is published or
    there is something newer.

    `keep` and `best` are those of `Store.prune`. Raises `StoreError` if `best` is no metric.
    """

    def __init__(self, store: Store, *, keep: int, best: str | None = None) -> None:
        if best is not None:
            metric_of(best)
        self.store = store
        self.published = 0
        self._keep, self._best = keep, best
        self._snapshots: list[Snapshot] = []
        self._graph: Traced | None = None
        self._waiting: Job | None = None
        self._failed: Job | None = None  # what the store did not take
        self._failures = 0  # of that job
        self._urgent = False  # it is to be tried again now
        self._pace = Pace()
        self._hurry = 0  # how many wait for what waits
        self._lost = False  # another process publishes into the store
        self._busy = False
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="exportweb-publisher", daemon=True)
        self._thread.start()

    def prepare(self, graph: Traced, weights: Weights) -> None:
        """Make the memory for snapshots of a graph's weights; done beforehand, so that `submit` only copies."""
        with self._changed:
            if self._graph is not graph:
                if self._graph is None or self._graph.layout != graph.layout:
                    self._snapshots = [Snapshot(weights), Snapshot(weights)]
                graph.borrow(self._snapshots[0])  # and give back the memory that it was traced with
                self._graph = graph
                give_back()

    def submit(self, graph: Traced, weights: Weights, card: Card) -> None:
        """Copy the weights and have them published. Blocks only for the copy."""
        self.prepare(graph, weights)
        with self._changed:
            snapshot = self._free_snapshot(weights)
        snapshot.take(weights)
        with self._changed:
            self._waiting = Job(graph, snapshot, card)
            self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was submitted is published or refused. What the store did not take is tried once more, now.

        Returns False if `timeout` (seconds) ran out, or if the store doesn't take the last version.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._hurry += 1
            self._changed.notify_all()
            try:
                if not self._changed.wait_for(self._idle, timeout):
                    return False
            finally:
                self._hurry -= 1
            if self._failed is not None and not self._closed:
                self._urgent = True
                self._changed.notify_all()
                self._changed.wait_for(self._idle, None if end is None else max(0.0, end - time.monotonic()))
            return self._failed is None

    def close(self) -> None:
        """End the thread once it is idle; nothing can be submitted afterwards."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _idle(self) -> bool:
        return not self._busy and self._waiting is None and not self._urgent

    def _free_snapshot(self, weights: Weights) -> Snapshot:
        """Take back the snapshot of a version that still waits (it is skipped), else one that is not in use."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            log.warning("exportweb: %s was skipped: a newer one came while it waited its turn", _what(waiting.card))
            if waiting.snapshot in self._snapshots:
                self._snapshots.remove(waiting.snapshot)
                self._snapshots.append(waiting.snapshot)
                return waiting.snapshot
        snapshot = self._snapshots.pop(0)
        self._snapshots.append(snapshot)
        return snapshot

    def _work(self) -> None:
        yield_to_training()
        while (job := self._next()) is not None:
            done = True
            try:
                with self._pace.version([threading.get_native_id(), *job.graph.beside.threads]):
                    done = self._publish(job)
            except Exception:
                log.exception("exportweb: %s was not published", _what(job.card))
            finally:
                with self._changed:
                    self._failed, self._failures = (None, 0) if done else (job, self._failures + 1)
                    self._busy = self._urgent = False
                    self._changed.notify_all()
                del job

    def _next(self) -> Job | None:
        """Wait for the next version, or until the one that failed is to be tried again; None when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._hurry or self._urgent or self._closed, self._pace.rest())
            pause = None if self._failed is None else min(_PAUSE * 2 ** (self._failures - 1), _LONGEST)
            self._changed.wait_for(lambda: self._waiting is not None or self._urgent or self._closed, pause)
            if self._waiting is not None:
                job, self._waiting, self._failed, self._failures = self._waiting, None, None, 0
            elif self._failed is not None and (self._urgent or not self._closed):
                job = self._failed
            else:
                if self._failed is not None:
                    log.warning("exportweb: %s was given up; it is not in %s", _what(self._failed.card), self.store.location)
                return None
            self._busy = True
            return job

    def _publish(self, job: Job) -> bool:
        """Publish or refuse a version; return False if the store did not take it."""
        if self._lost:
            return True
        start = time.perf_counter()

        def write(file: BinaryIO, number: int) -> None:
            job.graph.write(file, job.snapshot, job.card.replace(version=number))

        try:
            number = self.store.publish(write, suffix=job.graph.suffix)
        except StoreLocked as error:
            self._lost = True
            log.error("exportweb: %s is not published: %s", _what(job.card), error)
        except StoreError as error:
            if not self._failures:
                then = "training goes on, and it is tried again until there is a newer one"
                log.warning("exportweb: %s could not be published; %s: %s", _what(job.card), then, error)
            return False
        except Rejected as error:
            log.warning("exportweb: %s is not published; the version before it keeps serving: %s", _what(job.card), error)
            self._refuse(job.card, error)
        except (ExportwebError, OSError) as error:
            log.warning("exportweb: %s could not be published; training goes on, the next one is tried again: %s", _what(job.card), error)
            self._refuse(job.card, error)
        else:
            self.published += 1
            log.info("exportweb: %s is version %d (%.2f s)", _what(job.card), number, time.perf_counter() - start)
            self._prune()
        return True

    def _refuse(self, card: Card, error: Exception) -> None:
        """Leave word in the store for its servers, if it takes it."""
        try:
            self.store.refuse(str(error), epoch=card.source.epoch, step=card.source.step)
        except StoreError as unwritten:
            log.warning("exportweb: the page can't say so: %s", unwritten)

    def _prune(self) -> None:
        try:
            self.store.prune(self._keep, best=self._best)
        except StoreError as error:
            log.warning("exportweb: old versions could not be deleted, which is tried again after the next one: %s", error)


def _what(card: Card) -> str:
    source = card.source
    return f"epoch {source.epoch}" if source.epoch is not None else f"step {source.step}"
