from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from exportweb.errors import BadParameter, Overloaded, TooLarge, TooSlow
from exportweb.web.body import Body, Inbox


def receive_from(*messages: Any) -> Any:
    """An ASGI `receive` that gives these messages and then nothing more."""
    waiting = [{"type": "http.request", "body": m, "more_body": True} if isinstance(m, bytes) else m for m in messages]

    async def receive() -> Any:
        if not waiting:
            await asyncio.sleep(3600)
        return waiting.pop(0)

    return receive


END = {"type": "http.request", "body": b""}


def read(inbox: Inbox, *messages: Any, length: bytes | None = None) -> bytes:
    async def scenario() -> bytes:
        with Body(inbox) as body:
            return await body.read(receive_from(*messages), length)

    return asyncio.run(scenario())


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(max_upload=10, max_held=15, timeout=0.05)


def test_pieces_become_one(inbox: Inbox) -> None:
    assert read(inbox, b"abc", b"", b"def", END) == b"abcdef"
    assert read(inbox, {"type": "http.request", "body": b"abc"}) == b"abc"
    assert read(inbox, {"type": "http.request"}) == b""


def test_exactly_the_limit_is_taken(inbox: Inbox) -> None:
    assert read(inbox, bytes(10), END, length=b"10") == bytes(10)


def test_an_announcement_is_believed_before_anything_is_read(inbox: Inbox) -> None:
    with pytest.raises(TooLarge, match="10 bytes"):
        read(inbox, length=b"11")


def test_a_lie_about_the_length_is_noticed(inbox: Inbox) -> None:
    with pytest.raises(TooLarge):
        read(inbox, bytes(6), bytes(6), END, length=b"5")


def test_what_does_not_come_in_time_is_not_waited_for(inbox: Inbox) -> None:
    with pytest.raises(TooSlow, match=r"0\.05 s; 3 bytes"):
        read(inbox, b"abc")


def test_a_client_that_leaves(inbox: Inbox) -> None:
    with pytest.raises(ClientDisconnect):
        read(inbox, b"abc", {"type": "http.disconnect"})


def test_a_length_that_is_no_number(inbox: Inbox) -> None:
    with pytest.raises(BadParameter, match="Content-Length"):
        read(inbox, length=b"ten")


def test_all_bodies_together_have_a_limit_and_what_ended_is_free(inbox: Inbox) -> None:
    async def scenario() -> None:
        with Body(inbox) as first:
            await first.read(receive_from(bytes(10), END), None)
            with pytest.raises(Overloaded), Body(inbox) as second:
                await second.read(receive_from(bytes(6), END), None)
            assert inbox.held == 10
        assert inbox.held == 0
        with Body(inbox) as third:
            assert await third.read(receive_from(bytes(6), END), None) == bytes(6)

    asyncio.run(scenario())
    assert inbox.held == 0
