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
from typing import Any, NamedTuple, TypeVar

from exportweb import artifact as artifacts
from exportweb.card import Card
from exportweb.errors import ArtifactError, CardError, ExportwebError, Rejected
from exportweb.folder import hold
from exportweb.memory import give_back
from exportweb.runtime import verify
from exportweb.runtime.aside import Aside
from exportweb.runtime.history import History, Kind, VersionInfo
from exportweb.runtime.jobs import Live
from exportweb.runtime.lane import Lane
from exportweb.runtime.loader import Loader
from exportweb.runtime.predictor import no_card
from exportweb.runtime.sources import Candidate, Source, fingerprint
from exportweb.runtime.workers import without_frames

log = logging.getLogger(__name__)
T = TypeVar("T")

SETTLED = 0.3
"""Seconds that a file which can't be read has to stay unchanged before it counts as torn, not as still being written."""

_PATIENCE = 3  # looks for which measuring a busy model is put off
_SLOW = 0.2  # seconds an image: a busy model that takes longer isn't measured, which would keep everybody waiting for seconds
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
        self._tuned: Live | None = None  # nothing is left to be measured for it
        self._tried: Live | None = None
        self._put_off = 0  # looks for which that was, because something was asked between them
        self._completed: Live | None = None  # it has all of its sessions
        self._asked = lane.disturbance()  # since the last look
        self._company = lane.company()
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
            self._tune()
            self._complete()
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

    def _tune(self) -> None:
        """Measure how the version that serves is run best: at once; where that was disturbed, when nothing was asked between looks, and
        where something always is, between runs, if those are short.
        """
        if not self._loaded or self._loaded[-1].live is self._tuned:
            return
        live, _, candidate, _ = self._loaded[-1]
        new, self._tried = live is not self._tried, live
        self._put_off = 0 if new or not self._asked() else self._put_off + 1
        between = self._put_off >= _PATIENCE and self._lane.each < _SLOW
        if between or not self._put_off:
            asked = self._lane.disturbance()

            def disturbed() -> bool:  # a file that is replaced meanwhile isn't this version any more
                return (asked() and not between) or fingerprint(candidate.path) != candidate.fingerprint

            turn = self._lane.turn if between else contextlib.nullcontext
            if self._loader.tune(candidate.path, live, disturbed=disturbed, turn=turn):
                self._tuned = live
            elif between:
                self._put_off = 0
        self._asked = self._lane.disturbance()

    def _complete(self) -> None:
        """Give the version that serves the session for runs that are alone, unless few are: under load it would cost time for nothing."""
        if self._loaded and self._loaded[-1].live is not self._completed and not self._company():
            live, _, candidate, _ = self._loaded[-1]
            if fingerprint(candidate.path) == candidate.fingerprint:
                self._loader.complete(candidate.path, live)
            self._completed = live
        self._company = self._lane.company()

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
                number = known.live.version if known is not None else self._number(candidate, card)
                self._check_order(candidate, card, number)
                live = known.live if known is not None else self._built(candidate, card, number)
            except (ExportwebError, OSError) as error:
                if not self._unchanged(candidate, error):
                    return False
                self._reject(self._number_of_rejected(candidate, card), card, error)
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

    def _check_order(self, candidate: Candidate, card: Card, number: int) -> None:
        """Refuse another task, and a number that is not above the running one's unless that is meant."""
        if self.serving is None:
            return
        running = self._lane.current
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

    # -- numbers -----------------------------------------------------------------------------------------------------

    def _number(self, candidate: Candidate, card: Card) -> int:
        """Return the store's number, else the card's, else one more than any before."""
        if candidate.number is not None:
            return candidate.number
        running = self._lane.current
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
        self._numbered = max(self._numbered, number)
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
