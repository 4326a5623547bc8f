"""The order of versions: which number one has, and whether it may follow the one that is running."""

from __future__ import annotations

import datetime

from exportweb.card import Card
from exportweb.errors import Rejected
from exportweb.runtime.lane import Lane
from exportweb.runtime.sources import Candidate


class Order:
    """Numbers the versions of a lane. A number comes from the store, else from the card; else each has one more than any before."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._highest = 0

    def note(self, number: int) -> None:
        """Know that a version has had this number."""
        self._highest = max(self._highest, number)

    def number(self, candidate: Candidate, card: Card) -> int:
        """Return the number of a version that is to serve."""
        if candidate.number is not None:
            return candidate.number
        running = self._lane.current
        counted = running is not None and running.predictor.card.version is None  # then a card's number says nothing about order
        if card.version is None or (counted and card.version <= self._highest):
            return self._highest + 1
        return card.version

    def number_of_rejected(self, candidate: Candidate, card: Card | None) -> int:
        """Return the number to list a rejected version under: never the running one's for a file of its own."""
        number = candidate.number if candidate.number is not None else card.version if card is not None else None
        running = self._lane.current.version if self._lane.current is not None else None
        return self._highest + 1 if number is None or (candidate.number is None and number == running) else number

    def check(self, candidate: Candidate, card: Card, number: int) -> None:
        """Raise `Rejected` for another task than the running version's, and for a number that isn't above its own unless that is meant."""
        running = self._lane.current
        if running is None:
            return
        before = running.predictor.card
        if before.task != card.task:
            raise Rejected(f"Its task is {card.task!r}, the running version's {before.task!r}; serve it on its own.")
        if number < running.version and not candidate.rollback:
            raise Rejected(
                f"Version {number} is older than {running.version}, which is running. If going back is meant: "
                f"exportweb rollback STORE --to {number}; after a store was made anew: restart the server."
            )
        if candidate.number is None and _older(card, before):
            raise Rejected(
                f"It was made at {card.source.created}, before the version that is running ({before.source.created}). "
                "If going back is meant, restart the server."
            )
        if number == running.version and candidate.number is not None:
            raise Rejected(f"Version {number} was altered after it was published; a version's number is never used again.")


def _older(card: Card, running: Card) -> bool:
    """Whether a card says that it was made before another; times are ISO 8601, in UTC as exportweb writes them."""
    try:
        made, ran = (datetime.datetime.fromisoformat(c.source.created.replace("Z", "+00:00")) for c in (card, running))
        return made < ran
    except (ValueError, TypeError):  # no time, or one of the two without a zone
        return False
