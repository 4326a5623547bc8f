from __future__ import annotations

from typing import Any

from exportweb.runtime import Event, VersionInfo
from exportweb.runtime.history import History, Listeners
from exportweb.store import Refusal


def info(version: int, **changes: Any) -> VersionInfo:
    return VersionInfo(**{"version": version, "state": "available", "seen": float(version), **changes})


def states(history: History) -> list[tuple[int, str]]:
    return [(row.version, row.state) for row in history.list()]


def test_one_version_serves_at_a_time() -> None:
    history = History()
    assert history.available(info(1))
    assert not history.available(info(1))
    history.serving(info(1))
    history.serving(info(2))
    assert states(history) == [(1, "retired"), (2, "serving")]
    history.serving(info(1))
    assert states(history) == [(1, "serving"), (2, "retired")]


def test_a_rejection_does_not_touch_the_row_of_what_serves() -> None:
    history = History()
    history.serving(info(1))
    history.rejected(info(1, state="rejected", reason="altered"))
    history.rejected(info(2, state="rejected", reason="torn"))
    assert states(history) == [(1, "serving"), (2, "rejected")]
    assert history.serving(info(2)).reason is None  # its file was written again, whole


def test_what_was_refused_stands_where_it_happened() -> None:
    history = History()
    for version, created in ((1, "2026-01-01T00:00:00+00:00"), (2, "2026-01-03T00:00:00Z")):
        history.available(info(version, created=created))
    for day in (4, 2):
        history.refused(VersionInfo.refused(Refusal(reason=f"day {day}", time=1767225600 + (day - 1) * 86400)))
    assert [(row.version, row.reason) for row in history.list()] == [(1, None), (0, "day 2"), (2, None), (0, "day 4")]
    assert history.list()[1].created == "2026-01-02T00:00:00+00:00"


def test_it_is_bounded_and_keeps_what_serves() -> None:
    history = History(limit=3)
    history.serving(info(1))
    for version in range(2, 10):
        history.available(info(version))
    assert states(history) == [(1, "serving"), (8, "available"), (9, "available")]


def test_listeners_hear_until_they_leave() -> None:
    listeners, heard = Listeners(), list[Event]()
    leave = listeners.add(heard.append)
    listeners.tell("loaded", info(1))
    leave()
    leave()
    listeners.tell("loaded", info(2))
    assert [(event.kind, event.info.version) for event in heard] == [("loaded", 1)]
