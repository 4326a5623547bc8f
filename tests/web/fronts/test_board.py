from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from exportweb.web.fronts.board import Board


@pytest.fixture
def boards() -> Iterator[list[Board]]:
    """What the server and two fronts see of two models."""
    file = Board.create(models=2, fronts=2)
    yield [Board(os.dup(file), models=2) for _ in range(3)]
    os.close(file)


def test_who_waits_in_any_front_takes_room(boards: list[Board]) -> None:
    server, one, other = boards
    server.show(0, 5, 3)
    server.show(1, 1 << 40, 1)
    assert one.refusal(0) == other.refusal(0) == one.refusal(1) == 0
    one.wait(0, 2)
    other.wait(1, 3)
    assert one.refusal(0) == other.refusal(0) == 3
    assert one.refusal(1) == 0
    one.wait(0, 1)
    assert other.refusal(0) == 0


def test_a_full_queue_has_no_room_for_anybody(boards: list[Board]) -> None:
    server, one, _ = boards
    server.show(1, 0, 2)
    assert one.refusal(1) == 2
