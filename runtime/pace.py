"""How fast a queue gets on: answers a second, measured while there is always something to do."""

from __future__ import annotations

import math

_MEMORY = 2.0  # seconds of being busy after which a third of what was counted still counts
_ENOUGH = 0.2  # seconds of being busy that say something: in less, a core that was elsewhere for a moment is all there is to see


class Pace:
    """A moving average; infinite until enough was measured."""

    def __init__(self) -> None:
        self._answers = self._seconds = 0.0
        self._since: float | None = None

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self._answers / self._seconds if self._seconds >= _ENOUGH else math.inf

    def count(self, answers: int, *, now: float, busy: bool) -> None:
        """Count answers. Only if it was `busy` since the ones before, with work left then, did they take that long."""
        if self._since is not None:
            took = now - self._since
            kept = math.exp(-took / _MEMORY)
            self._answers = kept * self._answers + answers
            self._seconds = kept * self._seconds + took
        self._since = now if busy else None

    def pause(self) -> None:
        """Forget since when it was busy: what waited has gone away."""
        self._since = None
