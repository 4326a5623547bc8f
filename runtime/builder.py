"""The builder: one thread that watches a source and brings its versions up, from a file on disk to the version that answers.

    look -> read and compare the digest -> load -> golden sample -> warm -> swap -> drain -> release

Everything that can fail does so before the swap, beside the running version. A version that fails is rejected, once, and looked
at again only when its file changes; while a file is still being written, it is waited for, not judged.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from exportweb import artifact as artifacts
from exportweb.card import Card
from exportweb.errors import ArtifactError, CardError, ExportwebError, Rejected
from exportweb.folder import hold
from exportweb.memory import give_back
from exportweb.runtime import verify
from exportweb.runtime.history import History, Kind, VersionInfo
from exportweb.runtime.image_reader import Decode
from exportweb.runtime.jobs import Live, Plan
from exportweb.runtime.predictor import Predictor, no_card, read
from exportweb.runtime.sources import Candidate, Source, fingerprint
from exportweb.runtime.workers import Workers, without_frames

log = logging.getLogger(__name__)

SETTLED = 0.3
"""Seconds that a file which can't be read has to stay unchanged before it counts as torn, not as still being written."""

_CPU_BATCH, _GPU_BATCH = 4, 32  # images a run, at most, where nothing else is asked for
_SCANNED = 200  # versions whose cards are read when a store is first seen


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How versions are loaded and run: `max_batch` 0 is 4 on the CPU and 32 on a GPU, `threads` 0 is 1 a run on the CPU.

    `gpu_mem_limit` is in bytes, for each version and GPU; `cuda_graphs` allows them where they are measured to gain.
    On two cores, runs of one thread each answered a fifth more images/s than runs that shared both, for small models and big.
    """

    device: str = "auto"
    threads: int = 0
    max_batch: int = 0
    gpu_mem_limit: int = 0
    cuda_graphs: bool = True
    cpus: int = 1
    decoding: Decode = "exact"

    def load(self, candidate: Candidate, card: Card) -> Predictor:
        """Load a version."""
        return Predictor.load(
            candidate.path,
            device=self.device,
            threads=self.threads or 1,
            memory_limit=self.gpu_mem_limit,
            graphs=verify.batch_sizes(self.max_batch or _GPU_BATCH) if self.cuda_graphs else (),
            decoding=self.decoding,
            card=card,
            verified=True,  # by the builder, before it looked at the card
        )

    def plan(self, predictor: Predictor) -> Plan:
        """Say how a loaded version is run on its device."""
        on_cpu = predictor.device == "cpu"
        batch = predictor.max_batch or self.max_batch or (_CPU_BATCH if on_cpu else _GPU_BATCH)
        # Two runs on a GPU: one computes while the other's images are copied.
        runs = max(1, self.cpus // (self.threads or 1)) if on_cpu else 2 * len(predictor.each())
        return Plan(batch, runs, prepare_first=on_cpu)


class Builder:
    """Keeps `workers` on the version that `source` says should serve.

    `tell` is called in the builder's thread with each event. `settled` is set once a first version is loaded or rejected, or the
    builder has stopped; `failure` says why there is none.
    """

    def __init__(
        self,
        source: Source,
        workers: Workers,
        history: History,
        *,
        settings: Settings,
        card: Card | None,
        tell: Callable[[Kind, VersionInfo], None],
    ) -> None:
        self.settled = threading.Event()
        self.failure: Exception | None = None
        self.loaded = 0
        self.rejected = 0
        self.serving: VersionInfo | None = None
        self._source = source
        self._workers = workers
        self._history = history
        self._settings = settings
        self._card = card
        self._tell = tell
        self._judged: object = None  # the candidate that was last loaded or rejected: it is not judged twice
        self._running: Card | None = None
        self._held = contextlib.ExitStack()  # the running version's file, which is not pruned while it is held
        self._numbered = 0  # the highest number that a version has had
        self._refusals = 0
        self._started = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exportweb-builder", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, grace: float = 5.0) -> None:
        """End the thread; a load that is under way is not waited for any longer than `grace` seconds."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(grace)

    def _run(self) -> None:
        try:
            for _ in self._source.changes(self._stop):
                self._look_safely()
        finally:
            self._held.close()
            self._source.close()
            self.failure = self.failure or ExportwebError("The server was closed before a version was loaded.")
            self.settled.set()

    def _look_safely(self) -> None:
        try:
            self._look()
        except Exception:  # the thread that swaps versions must outlive whatever it meets
            log.exception("Looking for a new version failed.")

    # -- looking -----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Bring up the newest version if it isn't the running one, until there is nothing new; note the others."""
        while not self._stop.is_set():
            self._note_versions()
            try:
                candidate = self._source.candidate()
            except ExportwebError as error:
                if self._judged == str(error):
                    return
                if not self._stop.wait(SETTLED) and self._says(str(error)):  # `LATEST` may be about to be written
                    self._judged = str(error)
                    self._reject(0, None, error)
                continue
            if candidate is None or candidate == self._judged:
                return
            if self._judge(candidate):
                self._judged = candidate
                if self.serving is None:
                    self._fall_back(candidate)

    def _says(self, error: str) -> bool:
        """Whether the source still can't say what should serve, for the same reason."""
        try:
            self._source.candidate()
        except ExportwebError as again:
            return str(again) == error
        return False

    def _fall_back(self, rejected: Candidate) -> None:
        """Serve the newest version below a rejected one that passes its checks, where nothing serves yet: better than nothing."""
        for number in reversed(self._source.versions()):
            if rejected.number is not None and number < rejected.number and not self._stop.is_set():
                if (candidate := self._source.version(number)) is not None:
                    self._judge(candidate)
                if self.serving is not None:
                    return

    def _note_versions(self) -> None:
        """Record versions and refusals that were not seen yet; tell of those that are new since the start."""
        fresh = [number for number in self._source.versions() if number not in self._history]
        for number in fresh[-_SCANNED:]:
            try:
                info = VersionInfo.of(number, "available", self._source.card(number))
            except (ExportwebError, OSError):
                continue  # still being written, or broken: it is judged when it should serve
            if self._history.available(info) and self._started:
                self._tell("published", info)
        refusals = self._source.refusals()
        for refusal in refusals[self._refusals :]:
            info = VersionInfo.refused(refusal)
            self._history.refused(info)
            if self._started:
                self._tell("refused", info)
        self._refusals = len(refusals)  # a store that was made anew begins again
        self._started = True

    # -- judging -----------------------------------------------------------------------------------------------------

    def _judge(self, candidate: Candidate) -> bool:
        """Load a candidate or reject it; return False if its file changed meanwhile, so that it has to be looked at again."""
        card: Card | None = None
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(hold(candidate.path))
                card = self._checked_card(candidate)
                if card.digest is not None and card == self._running:
                    return True  # the running version under a new date
                number = self._number(candidate, card)
                self._check_order(candidate, card, number)
                predictor = self._built(candidate, card)
            except (ExportwebError, OSError) as error:
                if not self._unchanged(candidate, error):
                    return False
                self._reject(self._number_of_rejected(candidate, card), card, error)
                return True
            if predictor is None or fingerprint(candidate.path) != candidate.fingerprint:
                return False
            self._swap(predictor, VersionInfo.of(number, "serving", card))
            self._held.close()
            self._held = held.pop_all()
        return True

    def _checked_card(self, candidate: Candidate) -> Card:
        """Read the card of a whole file."""
        artifact = read(candidate.path)
        artifacts.verify(artifact)
        card = artifact.card if self._card is None or artifact.card is None else _described(self._card, artifact.card)
        card = card or self._card
        if card is None:
            raise CardError(no_card(candidate.path))
        return card

    def _check_order(self, candidate: Candidate, card: Card, number: int) -> None:
        """Refuse another task, and a number that is not above the running one's unless that is meant."""
        if self.serving is None:
            return
        running = self._workers.current
        if running is not None and running.predictor.card.task != card.task:
            raise Rejected(f"Its task is {card.task!r}, the running version's {running.predictor.card.task!r}; serve it on its own.")
        if number < self.serving.version and not candidate.rollback:
            raise Rejected(
                f"Version {number} is older than {self.serving.version}, which is running. If going back is meant: "
                f"exportweb rollback STORE --to {number}; after a store was made anew: restart the server."
            )
        if candidate.number is None and running is not None and _older(card, running.predictor.card):
            raise Rejected(
                f"It was made at {card.source.created}, before the version that is running ({running.predictor.card.source.created}). "
                "If going back is meant, restart the server."
            )
        if number == self.serving.version and candidate.number is not None:
            raise Rejected(f"Version {number} was altered after it was published; a version's number is never used again.")

    def _built(self, candidate: Candidate, card: Card) -> Predictor | None:
        """Load, check the golden sample, warm; None if the builder is stopped meanwhile."""
        predictor = self._settings.load(candidate, card)
        for one in predictor.each():
            verify.golden(one)
            for _ in verify.warm(one, self._settings.plan(one).max_batch):
                if self._stop.is_set():
                    return None
        return predictor

    def _unchanged(self, candidate: Candidate, error: Exception) -> bool:
        """Whether a failure stands. A file that can't be read may still be on its way: wait until it rests, and see."""
        if isinstance(error, (ArtifactError, CardError, OSError)):
            last = candidate.fingerprint
            while not self._stop.wait(SETTLED):
                now = fingerprint(candidate.path)
                if now == last:
                    break
                last = now
        return fingerprint(candidate.path) == candidate.fingerprint and not self._stop.is_set()

    # -- numbers -----------------------------------------------------------------------------------------------------

    def _number(self, candidate: Candidate, card: Card) -> int:
        """Return the store's number, else the card's, else one more than any before."""
        if candidate.number is not None:
            return candidate.number
        running = self._workers.current
        counted = running is not None and running.predictor.card.version is None  # then a card's number says nothing about order
        if card.version is None or (counted and card.version <= self._numbered):
            return self._numbered + 1
        return card.version

    def _number_of_rejected(self, candidate: Candidate, card: Card | None) -> int:
        """Return the number to list a rejected version under: never the running one's for a file of its own."""
        number = candidate.number if candidate.number is not None else card.version if card is not None else None
        running = self.serving.version if self.serving is not None else None
        return self._numbered + 1 if number is None or (candidate.number is None and number == running) else number

    # -- what comes of it --------------------------------------------------------------------------------------------

    def _reject(self, number: int, card: Card | None, error: Exception) -> None:
        reason = f"It can't be read: {error.strerror or error}." if isinstance(error, OSError) else str(error)
        info = VersionInfo.of(number, "rejected", card, reason=reason)
        self._numbered = max(self._numbered, number)
        self.rejected += 1
        if number:  # a store that can't be read is no version
            self._history.rejected(info)
        log.debug("Version %d is rejected: %s", number, reason, exc_info=error)
        self._tell("rejected", info)
        self.failure = without_frames(error)
        self.settled.set()

    def _swap(self, predictor: Predictor, info: VersionInfo) -> None:
        """Answer from this version; then wait until the one before has answered its last, and free it here."""
        card = predictor.card
        if self._history.available(msgspec.structs.replace(info, state="available")) and not self._source.versions():
            self._tell("published", msgspec.structs.replace(info, state="available"))
        old = self._workers.swap(Live(predictor, info.version, self._settings.plan(predictor)))
        self._running = card
        self._numbered = max(self._numbered, info.version)
        self.loaded += 1
        self.serving = self._history.serving(info)
        self.failure = None
        log.debug("Version %d serves on %s.", info.version, predictor.device)
        self._tell("loaded", self.serving)
        self.settled.set()
        if old is not None:
            while not old.drained.wait(0.1) and not self._stop.is_set():
                pass
            if old.drained.is_set():
                old.release()
        give_back()  # what building took, and what the version before held


def _older(card: Card, running: Card) -> bool:
    """Whether a card says that it was made before another; times are ISO 8601, in UTC as exportweb writes them."""
    try:
        made, ran = (datetime.datetime.fromisoformat(c.source.created.replace("Z", "+00:00")) for c in (card, running))
        return made < ran
    except (ValueError, TypeError):  # no time, or one of the two without a zone
        return False


def _described(given: Card, own: Card) -> Card:
    """Return the user's description of a graph with the file's own origin, digest and number."""
    kept: dict[str, Any] = {"source": own.source, "version": own.version, "digest": own.digest, "golden": own.golden}
    return given.replace(**kept)
