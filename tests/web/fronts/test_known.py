from __future__ import annotations

import asyncio
import os
import types
from collections.abc import Callable
from typing import Any

from exportweb.web.fronts.board import Board
from exportweb.web.fronts.channel import Described
from exportweb.web.fronts.known import Known


def model(preparation: bytes | None = None, *, room: int = 1) -> Any:
    """What is asked of a model that is served."""
    return types.SimpleNamespace(predictor=types.SimpleNamespace(preparation=preparation), room=(room, 3))


def test_fronts_are_told_what_has_changed_and_a_new_one_everything() -> None:
    one, two = model(b"a"), model()
    known = Known([one, two], count=1)
    assert known.changed() == [Described(0, 1, b"a")]
    assert known.changed() == []
    assert known.prepares(0) and not known.prepares(1)
    two.predictor, one.predictor.preparation = None, b"b"
    assert known.changed() == [Described(0, 2, b"b")]
    one.predictor.preparation, two.predictor = b"a", one.predictor
    assert known.changed() == [Described(0, 1, b"a"), Described(1, 1, b"a")], "the same is named by the same number"
    assert known.all() == [Described(0, 1, b"a"), Described(1, 1, b"a")]
    assert known.description(2) == b"b"


def test_a_board_says_where_there_is_no_room_until_there_is() -> None:
    full = model(room=0)
    known = Known([full, model()], count=2)

    async def look() -> list[int]:
        known.show()  # nobody sees it yet
        known.begin()
        board = Board(os.dup(known.file), models=2)
        seen = [board.refusal(0), board.refusal(1)]
        full.room = (1, 3)
        await until(lambda: not board.refusal(0))
        board.wait(1, 5)
        seen.append(board.refusal(0))
        known.gone(1)
        return [*seen, board.refusal(0)]

    assert asyncio.run(look()) == [3, 0, 3, 0]
    known.end()
    known.show()
    assert not known.open


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)
