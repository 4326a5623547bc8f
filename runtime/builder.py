"""The builder: one thread that watches a source and brings its versions up, from a file on disk to the version that answers.

    look -> read and compare the digest -> load -> golden sample -> warm -> swap -> drain -> release

Everything that can fail does so before the swap, beside the running version. A version that fails is rejected, once, and looked
at again only when its file changes; while a file is still being written, it is waited for, not judged.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from exportweb import artifact as artifacts
from exportweb.card import Card
from exportweb.errors import ArtifactError, CardError, ExportwebError
from exportweb.folder import hold
from exportweb.memory import give_back
from exportweb.runtime import verify
from exportweb.runtime.aside import Aside
from exportweb.runtime.history import History, Kind, VersionInfo
from exportweb.runtime.improver import Improver
from exportweb.runtime.jobs import Live
from exportweb.runtime.lane import Lane
from exportweb.runtime.loader import Loader
from exportweb.runtime.order import Order
from exportweb.runtime.predictor import no_card
from exportweb.runtime.sources import Candidate, Source, fingerprint
from exportweb.runtime.workers import without_frames

log = logging.getLogger(__name__)
T = TypeVar("T")

SETTLED = 0.3
"""Seconds that a file which can't be read has to stay unchanged before it counts as torn, not as still being written."""

_SCANNED = 200  # versions whose cards are read when a store is first seen


class Loaded(NamedTuple):
    """A loaded version, the file that it came from, and what keeps that from being pruned."""

    live: Live
    card: Card
    candidate: Candidate
    held: contextlib.ExitStack


class Builder:
    """Keeps `lane` on the version that `source` says should serve.

    `tell` is called in the builder's thread with each event. `settled` is set once a first version is loaded or rejected, or the
    builder has stopped; `failure` says why there is none.
    """

    def __init__(
        self,
        source: Source,
        lane: Lane,
        history: History,
        *,
        loader: Loader,
        card: Card | None,
        tell: Callable[[Kind, VersionInfo], None],
    ) -> None:
        self.settled = threading.Event()
        self.failure: Exception | None = None
        self.loaded = 0
        self.rejected = 0
        self.serving: VersionInfo | None = None
        self._source = source
        self._lane = lane
        self._history = history
        self._loader = loader
        self._aside = Aside()
        self._card = card
        self._tell = tell
        self._judged: object = None  # the candidate that was last loaded or rejected: it is not judged twice
        self._running: Card | None = None
        self._loaded: list[Loaded] = []
        self._improver = Improver(lane, loader)
        self._order = Order(lane)
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
                self._aside.look()
                self._look_safely()
        finally:
            for loaded in self._loaded:
                loaded.held.close()
            self._source.close()
            self._aside.close()
            self.failure = self.failure or ExportwebError("The server was closed before a version was loaded.")
            self.settled.set()

    def _look_safely(self) -> None:
        try:
            self._look()
            if self._loaded:
                self._improver.improve(self._loaded[-1].live, self._loaded[-1].candidate)
        except Exception:  # the thread that swaps versions must outlive whatever it meets
            log.exception("Looking for a new version failed.")

    # -- looking -----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Bring up the newest version if it isn't the running one, until there is nothing new; note the others."""
        while not self._stop.is_set():
            try:
                candidate = self._source.candidate()
            except ExportwebError as error:
                self._note_versions()
                if self._judged == str(error):
                    return
                if not self._stop.wait(SETTLED) and self._says(str(error)):  # `LATEST` may be about to be written
                    self._judged = str(error)
                    self._reject(0, None, error)
                continue
            self._note_versions()  # now, when all that is older than the candidate is there: it is told of before that
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
                known = self._known(lambda loaded: _same_file(loaded.candidate, candidate))
                card = known.card if known is not None else self._checked_card(candidate)
                if card.digest is not None and card == self._running and candidate.number in (None, self._loaded[-1].live.version):
                    return True  # the running version under a new date
                known = known or self._known(lambda loaded: loaded.live.version == candidate.number and loaded.card == card)
                number = known.live.version if known is not None else self._order.number(candidate, card)
                self._order.check(candidate, card, number)
                live = known.live if known is not None else self._built(candidate, card, number)
            except (ExportwebError, OSError) as error:
                if not self._unchanged(candidate, error):
                    return False
                self._reject(self._order.number_of_rejected(candidate, card), card, error)
                return True
            if live is None or fingerprint(candidate.path) != candidate.fingerprint:
                return False
            self._swap(Loaded(live, card, candidate, held.pop_all()))
        return True

    def _known(self, is_it: Callable[[Loaded], bool]) -> Loaded | None:
        """Return the loaded version that a candidate is, if it is one: then there is nothing to load or to verify."""
        return next(filter(is_it, self._loaded), None)

    def _checked_card(self, candidate: Candidate) -> Card:
        """Read the card of a whole file."""
        artifact = artifacts.read(candidate.path)
        self._beside_answers(lambda: artifacts.verify(artifact))
        card = artifact.card if self._card is None or artifact.card is None else _described(self._card, artifact.card)
        card = card or self._card
        if card is None:
            raise CardError(no_card(artifact))
        return card

    def _built(self, candidate: Candidate, card: Card, number: int) -> Live | None:
        """Load, check the golden sample, warm; None if the builder is stopped meanwhile."""
        predictor, plan = self._loader.load(candidate.path, card, aside=self._beside_answers)

        def check() -> bool:
            for one in predictor.each():
                verify.golden(one)
                for _ in verify.warm(one, plan.max_batch if self.serving or one.device != "cpu" else 1):  # the first one is waited for
                    if self._stop.is_set():
                        return False
            return True

        return Live(predictor, number, plan) if self._beside_answers(check) else None

    def _beside_answers(self, function: Callable[[], T]) -> T:
        """Call what takes long so that answers don't wait for it; at once, where nothing answers yet."""
        return self._aside.call(function) if self.serving is not None else function()

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

    # -- what comes of it --------------------------------------------------------------------------------------------

    def _reject(self, number: int, card: Card | None, error: Exception) -> None:
        reason = f"It can't be read: {error.strerror or error}." if isinstance(error, OSError) else str(error)
        info = VersionInfo.of(number, "rejected", card, reason=reason)
        self._order.note(number)
        self.rejected += 1
        if number:  # a store that can't be read is no version
            self._history.rejected(info)
        log.debug("Version %d is rejected: %s", number, reason, exc_info=error)
        self._tell("rejected", info)
        self.failure = without_frames(error)
        self.settled.set()

    def _swap(self, loaded: Loaded) -> None:
        """Answer from this version; then wait until those that are not kept have answered their last, and free them here."""
        card, number = loaded.card, loaded.live.version
        info = VersionInfo.of(number, "available", card)
        if self._history.available(info) and not self._source.versions():
            self._tell("published", info)
        retired = self._lane.swap(loaded.live)
        for old in self._loaded:
            if old.live in (*retired, loaded.live):
                old.held.close()
        self._loaded = [*(old for old in self._loaded if old.live not in (*retired, loaded.live)), loaded]
        self._running = card
        self._order.note(number)
        self.loaded += 1
        self.serving = self._history.serving(info)
        self.failure = None
        log.debug("Version %d serves on %s.", number, loaded.live.predictor.device)
        self._tell("loaded", self.serving)
        self.settled.set()
        for live in retired:
            while not live.drained.wait(0.1) and not self._stop.is_set():
                pass
            if live.drained.is_set():
                live.release()
        give_back()  # what building took, and what the version before held


def _same_file(one: Candidate, other: Candidate) -> bool:
    return one.path == other.path and one.fingerprint is not None and one.fingerprint == other.fingerprint


def _described(given: Card, own: Card) -> Card:
    """Return the user's description of a graph with the file's own origin, digest and number."""
    kept: dict[str, Any] = {"source": own.source, "version": own.version, "digest": own.digest, "golden": own.golden}
    return given.replace(**kept)
