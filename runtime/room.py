"""How many requests may wait for one model: fewer while there are more than it can answer."""

from __future__ import annotations

import time

MAX_WAIT, MIN_QUEUE = 1.6, 32
"""Seconds of work that may wait, and requests that may however long they take: a slow model's few clients rather wait than ask again."""

CROWD_WAIT, CROWD_QUEUE = 1.0, 8
"""The same while some are refused: a longer queue answers nothing more then, it answers later, and long after the crowd has gone."""

CALM = 1.0  # seconds without a refusal after which the crowd has gone


class Room:
    """The bound of one model's queue, never more than `most` requests."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._calm = 0.0  # when the crowd will have gone

    def most(self, rate: float) -> float:
        """Return how many may wait where so many are answered a second."""
        wait, least = (CROWD_WAIT, CROWD_QUEUE) if time.monotonic() < self._calm else (MAX_WAIT, MIN_QUEUE)
        return min(self._most, max(least, wait * rate))

    def refused(self) -> None:
        """Know that a request had to be refused."""
        self._calm = time.monotonic() + CALM
