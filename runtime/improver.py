"""What is done for a version once it serves: measuring how it is run best, and making the session that few requests need."""

from __future__ import annotations

import contextlib

from exportweb.runtime.jobs import Live
from exportweb.runtime.lane import Lane
from exportweb.runtime.loader import Loader
from exportweb.runtime.sources import Candidate, fingerprint

_PATIENCE = 3  # looks for which measuring a busy model is put off
_SLOW = 0.2  # seconds an image: a busy model that takes longer isn't measured, which would keep everybody waiting for seconds


class Improver:
    """Improves the version that serves in a lane, from look to look. What was found out is for its successors, too."""

    def __init__(self, lane: Lane, loader: Loader) -> None:
        self._lane = lane
        self._loader = loader
        self._tuned: Live | None = None  # nothing is left to be measured for it
        self._tried: Live | None = None
        self._put_off = 0  # looks for which that was, because something was asked between them
        self._completed: Live | None = None  # it has all of its sessions
        self._asked = lane.disturbance()  # since the last look
        self._company = lane.company()

    def improve(self, live: Live, candidate: Candidate) -> None:
        """Do what can be done now for the version that serves, which came from this candidate."""
        self._tune(live, candidate)
        self._complete(live, candidate)

    def _tune(self, live: Live, candidate: Candidate) -> None:
        """Measure how it is run best: at once; where that was disturbed, when nothing was asked between looks, and where something always
        is, between runs, if those are short.
        """
        if live is self._tuned:
            return
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

    def _complete(self, live: Live, candidate: Candidate) -> None:
        """Give it the session for runs that are alone, unless few are: under load it would cost time for nothing."""
        if live is not self._completed and not self._company():
            if fingerprint(candidate.path) == candidate.fingerprint:
                self._loader.complete(candidate.path, live)
            self._completed = live
        self._company = self._lane.company()
