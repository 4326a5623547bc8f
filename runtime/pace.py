"""How fast a queue gets on: answers a second, measured while there is always something to do."""

from __future__ import annotations

import math

_KEPT = 0.9  # of what was counted before, at each count


class Pace:
    """A moving average; infinite until something was measured."""

    def __init__(self) -> None:
        self._answers = self._seconds = 0.0
        self._since: float | None = None

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self._answers / self._seconds if self._seconds else math.inf

    def count(self, answers: int, *, now: float, busy: bool) -> None:
        """Count answers. Only if it was `busy` since the ones before, with work left then, did they take that long."""
        if self._since is not None:
            self._answers = _KEPT * self._answers + answers
            self._seconds = _KEPT * self._seconds + now - self._since
        self._since = now if busy else None

    def pause(self) -> None:
        """Forget since when it was busy: what waited has gone away."""
        self._since = None
