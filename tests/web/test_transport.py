from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from exportweb.web.transport import Gathering
from wire import head, read_answer


class Written:
    """A transport that notes what is handed over, and in how many pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.pieces.append(data)

    def close(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.pieces))

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
def both() -> tuple[Gathering, Written, asyncio.AbstractEventLoop]:
    written, loop = Written(), asyncio.new_event_loop()
    return Gathering(written, loop), written, loop  # type: ignore[arg-type]


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0))


def test_what_is_written_in_a_turn_is_one_piece(both: tuple[Any, Any, Any]) -> None:
    gathering, written, loop = both
    for parts in ([b"head", b"body"], [b"alone"]):
        for part in parts:
            gathering.write(part)
        assert written.pieces == []
        turn(loop)
        assert written.pieces == [b"".join(parts)]
        written.pieces.clear()
    turn(loop)
    assert written.pieces == []


def test_what_is_large_goes_at_once_and_in_order(both: tuple[Any, Any, Any]) -> None:
    gathering, written, loop = both
    large = bytes(100_000)
    gathering.write(b"head")
    gathering.write(large)
    gathering.write(b"tail")
    assert written.pieces == [b"head", large]
    assert written.pieces[1] is large
    turn(loop)
    assert written.pieces[2:] == [b"tail"]


def test_what_nothing_follows_goes_at_once_and_in_order(both: tuple[Any, Any, Any]) -> None:
    gathering, written, loop = both
    gathering.write(b"answer")
    gathering.write_now(b"refusal")
    assert written.pieces == [b"answer", b"refusal"]
    turn(loop)
    assert written.pieces == [b"answer", b"refusal"]


def test_nothing_is_lost_by_closing(both: tuple[Any, Any, Any]) -> None:
    gathering, written, loop = both
    gathering.write(b"last words")
    gathering.close()
    assert written.pieces == [b"last words"] and gathering.is_closing()
    turn(loop)
    assert written.pieces == [b"last words"]


def test_who_is_gone_is_written_nothing(both: tuple[Any, Any, Any]) -> None:
    gathering, written, loop = both
    gathering.write(b"too late")
    written.closed = True
    turn(loop)
    assert written.pieces == []


def test_what_waits_counts_as_not_sent(both: tuple[Any, Any, Any]) -> None:
    gathering, _, _ = both
    gathering.write(b"12345")
    assert gathering.get_write_buffer_size() == 5


def test_a_real_answer_comes_in_one_piece(
    serve_model: Callable[..., Any], picture: Callable[..., bytes], connect: Callable[..., Any]
) -> None:
    data = picture()
    connection: socket.socket = connect(serve_model().address, head(len(data)) + data)
    first = connection.recv(65536)
    assert first.startswith(b"HTTP/1.1 200") and first.partition(b"\r\n\r\n")[2].startswith(b"[{")
    connection.sendall(head(len(data)) + data)
    assert read_answer(connection)[0] == 200
