from __future__ import annotations

import math
import time

import pytest

from exportweb.runtime.room import CALM, CROWD_QUEUE, CROWD_WAIT, MAX_WAIT, MIN_QUEUE, Room


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("rate", "calm", "crowded"),
    [(100.0, 100 * MAX_WAIT, 100 * CROWD_WAIT), (1.0, MIN_QUEUE, CROWD_QUEUE), (1000.0, 256, 256), (math.inf, 256, 256)],
)
def test_fewer_may_wait_while_some_are_refused(clock: list[float], rate: float, calm: float, crowded: float) -> None:
    room = Room(256)
    assert room.most(rate) == calm
    room.refused()
    assert room.most(rate) == crowded
    clock[0] += CALM - 0.01
    room.refused()
    clock[0] += CALM - 0.01
    assert room.most(rate) == crowded
    clock[0] += 0.02
    assert room.most(rate) == calm


def test_there_is_never_room_for_more_than_was_said(clock: list[float]) -> None:
    assert Room(3).most(1.0) == Room(3).most(1000.0) == 3
