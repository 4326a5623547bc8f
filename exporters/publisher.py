"""The publisher: a thread that writes versions beside the training, one at a time, the latest first."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import BinaryIO, NamedTuple

from exportweb.card import Card
from exportweb.errors import ExportwebError, Rejected, StoreError
from exportweb.exporters.exporter import Graph
from exportweb.exporters.weights import Snapshot, Weights
from exportweb.store import Store

log = logging.getLogger("exportweb")
_NICE = 10


class Job(NamedTuple):
    """A version to be published: a graph, the weights to put into it, and what the card says."""

    graph: Graph
    snapshot: Snapshot
    card: Card


class Publisher:
    """Publishes versions into a store from a thread of low priority.

    The caller pays for one copy of the weights. While a version is being written the next one waits, and one that is newer takes its
    place: a slow disk never slows training, it skips versions and says so. Two snapshots are all the memory that takes.
    """

    def __init__(self, store: Store, *, keep: int) -> None:
        self.store = store
        self.keep = keep
        self.published = 0
        self._snapshots: list[Snapshot] = []
        self._graph: Graph | None = None
        self._waiting: Job | None = None
        self._busy = False
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="exportweb-publisher", daemon=True)
        self._thread.start()

    def prepare(self, graph: Graph, weights: Weights) -> None:
        """Make the memory for snapshots of a graph's weights; done beforehand, so that `submit` only copies."""
        with self._changed:
            if self._graph is not graph:
                if self._graph is None or self._graph.layout != graph.layout:
                    self._snapshots = [Snapshot(weights), Snapshot(weights)]
                graph.borrow(self._snapshots[0])  # and give back the memory that it was traced with
                self._graph = graph

    def submit(self, graph: Graph, weights: Weights, card: Card) -> None:
        """Copy the weights and have them published. Blocks only for the copy."""
        self.prepare(graph, weights)
        with self._changed:
            snapshot = self._free_snapshot(weights)
        snapshot.take(weights)
        with self._changed:
            self._waiting = Job(graph, snapshot, card)
            self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was submitted is published or refused; return False if `timeout` (seconds) ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy and self._waiting is None, timeout)

    def close(self) -> None:
        """End the thread once it is idle; nothing can be submitted afterwards."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _free_snapshot(self, weights: Weights) -> Snapshot:
        """Take back the snapshot of a version that still waits (it is skipped), else one that is not in use."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            log.warning("exportweb: %s was skipped, since publishing is slower than training", _what(waiting.card))
            if waiting.snapshot in self._snapshots:
                self._snapshots.remove(waiting.snapshot)
                self._snapshots.append(waiting.snapshot)
                return waiting.snapshot
        snapshot = self._snapshots.pop(0)
        self._snapshots.append(snapshot)
        return snapshot

    def _work(self) -> None:
        if hasattr(os, "setpriority"):  # Linux: the priority of this thread alone, and of those it starts
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closed)
                if self._waiting is None:
                    return
                job, self._waiting, self._busy = self._waiting, None, True
            try:
                self._publish(job)
            except Exception:
                log.exception("exportweb: %s was not published", _what(job.card))
            finally:
                del job
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _publish(self, job: Job) -> None:
        start = time.perf_counter()

        def write(file: BinaryIO, number: int) -> None:
            job.graph.write(file, job.snapshot, job.card.replace(version=number))

        source = job.card.source
        try:
            number = self.store.publish(write)
            self.published += 1
            self.store.prune(self.keep)
        except Rejected as error:
            log.warning("exportweb: %s is not published; the version before it keeps serving: %s", _what(job.card), error)
            self.store.refuse(str(error), epoch=source.epoch, step=source.step)
        except (ExportwebError, OSError) as error:
            log.warning("exportweb: %s could not be published; training goes on, the next one is tried again: %s", _what(job.card), error)
            if not isinstance(error, StoreError):
                self.store.refuse(str(error), epoch=source.epoch, step=source.step)
        else:
            log.info("exportweb: %s is version %d (%.2f s)", _what(job.card), number, time.perf_counter() - start)


def _what(card: Card) -> str:
    source = card.source
    return f"epoch {source.epoch}" if source.epoch is not None else f"step {source.step}"
