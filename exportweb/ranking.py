"""Which version is best, by a metric in the cards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from exportweb.card import Card
from exportweb.errors import ArtifactError, CardError, StoreError


class Ranking:
    """Ranks versions by their number; `card` reads a version's card, once, since a version never changes."""

    def __init__(self, card: Callable[[int], Card | None]) -> None:
        self._card = card
        self._metrics: dict[int, Mapping[str, float]] = {}

    def best(self, metric: str, versions: Iterable[int]) -> int | None:
        """Return the version with the highest value of a metric; with a minus before its name (``"-loss"``) the lowest.

        Of equals it is the newest. Versions without a finite value don't compete; None if none has one.
        """
        name, sign = metric_of(metric)
        values = {number: sign * self._of(number).get(name, math.nan) for number in versions}
        return max((number for number, value in values.items() if math.isfinite(value)), key=lambda n: (values[n], n), default=None)

    def forget(self, versions: Iterable[int]) -> None:
        """Know nothing more of versions that were deleted."""
        for number in versions:
            self._metrics.pop(number, None)

    def _of(self, number: int) -> Mapping[str, float]:
        """Return the metrics in a version's card, none where it has no card that can be read."""
        if number not in self._metrics:
            try:
                card = self._card(number)
            except (ArtifactError, CardError):
                card = None
            self._metrics[number] = card.source.metrics if card else {}
        return self._metrics[number]


def metric_of(text: str) -> tuple[str, int]:
    """Return the name in ``"accuracy"`` or ``"-loss"``, and 1 if the highest is best, -1 if the lowest is."""
    name = text.removeprefix("-").strip()
    if not name:
        raise StoreError(f"The metric to keep the best of should be a name such as 'accuracy', or '-loss' for the lowest; got {text!r}.")
    return name, -1 if text.startswith("-") else 1
