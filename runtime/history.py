"""What a server has seen: every version with its state, and the events that told of them."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from exportweb.card import Card
from exportweb.store import Refusal

log = logging.getLogger(__name__)

State = Literal["serving", "retired", "available", "rejected", "refused"]
Kind = Literal["published", "loaded", "rejected", "refused"]


class VersionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A version as the server knows it; `reason` says why it was rejected (by the server) or refused (by its trainer).

    `created` is ISO 8601; `seen` in seconds since the epoch, UTC. What was refused never got a number: its `version` is 0.
    """

    version: int
    state: State
    epoch: int | None = None
    step: int | None = None
    metrics: dict[str, float] = {}
    created: str | None = None
    seen: float
    reason: str | None = None

    @classmethod
    def of(cls, version: int, state: State, card: Card | None, *, reason: str | None = None) -> VersionInfo:
        """Describe a version that is seen now, by its card if it has one."""
        if card is None:
            return cls(version=version, state=state, seen=time.time(), reason=reason)
        source = card.source
        return cls(
            version=version,
            state=state,
            epoch=source.epoch,
            step=source.step,
            metrics=source.metrics,
            created=source.created,
            seen=time.time(),
            reason=reason,
        )

    @classmethod
    def refused(cls, refusal: Refusal) -> VersionInfo:
        """Describe what a trainer did not publish."""
        return cls(
            version=0,
            state="refused",
            epoch=refusal.epoch,
            step=refusal.step,
            created=datetime.datetime.fromtimestamp(refusal.time, datetime.timezone.utc).isoformat(timespec="seconds"),
            seen=refusal.time,
            reason=refusal.reason,
        )


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a version; `time` is in seconds since the epoch, UTC."""

    kind: Kind
    info: VersionInfo
    time: float


class History:
    """The newest `limit` versions and refusals, kept after the store has pruned them. Safe to use from several threads."""

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._versions: dict[int, VersionInfo] = {}
        self._refused: list[VersionInfo] = []

    def __contains__(self, version: int) -> bool:
        with self._lock:
            return version in self._versions

    def list(self) -> list[VersionInfo]:
        """Return what was seen: versions by number, what was refused between them by time."""
        with self._lock:
            refused = list(self._refused)
            rows = [self._versions[number] for number in sorted(self._versions)]
        out: list[VersionInfo] = []
        for row in rows:
            while refused and refused[0].seen <= _created(row):
                out.append(refused.pop(0))
            out.append(row)
        return (out + refused)[-self._limit :]

    def available(self, info: VersionInfo) -> bool:
        """Record a version that was found; return False if it was known."""
        with self._lock:
            if info.version in self._versions:
                return False
            self._put(info)
            return True

    def serving(self, info: VersionInfo) -> VersionInfo:
        """Record that a version serves from now on; the one before is retired. Return it as it is listed."""
        with self._lock:
            for number, row in self._versions.items():
                if row.state == "serving" and number != info.version:
                    self._versions[number] = msgspec.structs.replace(row, state="retired")
            known = self._versions.get(info.version)
            info = msgspec.structs.replace(info, state="serving", seen=known.seen if known else info.seen, reason=None)
            self._put(info)
            return info

    def rejected(self, info: VersionInfo) -> None:
        """Record that a version failed a check; the row of the one that serves is left alone."""
        with self._lock:
            known = self._versions.get(info.version)
            if known is None or known.state != "serving":
                self._put(info)

    def refused(self, info: VersionInfo) -> None:
        """Record what a trainer did not publish."""
        with self._lock:
            self._refused.append(info)
            self._refused.sort(key=lambda row: row.seen)
            del self._refused[: -self._limit]

    def _put(self, info: VersionInfo) -> None:
        self._versions[info.version] = info
        while len(self._versions) > self._limit:
            oldest = min(number for number, row in self._versions.items() if row.state != "serving")
            del self._versions[oldest]


class Listeners:
    """Who wants to hear of events."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Event], None]] = []

    def add(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Add a listener; return what removes it again."""
        with self._lock:
            self._listeners.append(listener)

        def remove() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return remove

    def tell(self, kind: Kind, info: VersionInfo) -> None:
        """Call each listener with an event that happens now."""
        event = Event(kind, info, time.time())
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            self._call(listener, event)

    def _call(self, listener: Callable[[Event], None], event: Event) -> None:
        try:
            listener(event)
        except Exception:  # one that fails must not keep the others from hearing of it
            log.exception("A listener failed.")


def _created(row: VersionInfo) -> float:
    """Return when a version was made, in seconds since the epoch, or when it was first seen if it doesn't say."""
    try:
        return datetime.datetime.fromisoformat((row.created or "").replace("Z", "+00:00")).timestamp()
    except ValueError:
        return row.seen
