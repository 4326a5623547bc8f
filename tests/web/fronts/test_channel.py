from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from exportweb.web.fronts import channel
from exportweb.web.fronts.slots import Placed

ASKED = channel.Asked(7, 0, {"top_k": "3"}, 1, {"image": Placed("|u1", (2, 2, 3), 64)}, {"decode": 0.1}, (2, 2), 0.5)
ANSWERS = channel.Answers(
    [
        channel.Answered(7, 3, "application/json", b"{}" * 100_000, {"inference": 0.1}),
        channel.Failed(8, 503, "full", 2),
        channel.Again(9, 2, b"description"),
    ]
)


class Side:
    """One side of a channel, and what it has heard."""

    def __init__(self, files: socket.socket, kind: Any) -> None:
        self.heard: list[Any] = []
        self.ended = asyncio.Event()
        self.channel = channel.Channel(files, kind, self.heard.append, self.ended.set)

    async def hears(self, count: int) -> list[Any]:
        while len(self.heard) < count:
            await asyncio.sleep(0.001)
        return self.heard


def talk(conversation: Callable[[Side, Side], Awaitable[None]]) -> None:
    """Have a server and a front talk."""

    async def run() -> None:
        messages, files = socket.socketpair(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server, front = Side(files[0], channel.FromFront), Side(files[1], channel.ToFront)
        for side, end in zip((server, front), messages, strict=True):
            await asyncio.get_running_loop().connect_accepted_socket(lambda side=side: side.channel, end)  # type: ignore[misc]
        await asyncio.wait_for(conversation(server, front), 10)
        for side in (server, front):
            side.channel.close()
            await side.ended.wait()

    asyncio.run(run())


def test_what_is_said_is_heard_in_order() -> None:
    async def conversation(server: Side, front: Side) -> None:
        said = [channel.Ready(1), ASKED, channel.Dropped(7, 0, 499), channel.Told(0, 503, 2), channel.Left(1)]
        for message in said:
            front.channel.send(message)
        assert await server.hears(5) == said
        for answer in (channel.Described(0, 1, b"x"), ANSWERS, channel.Spare(), channel.Stop(1.0)):
            server.channel.send(answer)
        assert (await front.hears(4))[1] == ANSWERS

    talk(conversation)


def test_connections_change_sides_with_what_was_read() -> None:
    async def conversation(server: Side, front: Side) -> None:
        pairs = [socket.socketpair() for _ in range(20)]
        for ours, theirs in pairs:
            assert server.channel.hand_over(theirs.fileno(), b"early")
            theirs.close()
            ours.sendall(b"later")
        for (ours, _), message in zip(pairs, await front.hears(20), strict=True):
            assert message.data == b"early"
            taken = front.channel.take(message.number)
            assert taken is not None
            assert taken.recv(10) == b"later"
            taken.sendall(b"answer")
            assert ours.recv(10) == b"answer"
            taken.close()
            ours.close()
        assert front.channel.take(99) is None

    talk(conversation)


def test_a_connection_stays_where_it_is_if_it_can_not_be_handed_over() -> None:
    async def conversation(server: Side, front: Side) -> None:
        ours, theirs = socket.socketpair()
        while server.channel.hand_over(theirs.fileno(), b""):  # until the socket between them is full, since nobody takes them
            pass
        front.channel.close()
        await server.ended.wait()
        assert not server.channel.hand_over(theirs.fileno(), b"")
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"

    talk(conversation)


def test_the_end_of_one_side_is_that_of_the_other() -> None:
    async def conversation(server: Side, front: Side) -> None:
        front.channel.close()
        await server.ended.wait()
        server.channel.send(channel.Spare())  # nobody hears it

    talk(conversation)


@pytest.mark.parametrize("split", [1, 3, 50])
def test_messages_may_come_in_pieces(split: int) -> None:
    import msgspec

    encoded = b"".join(len(data).to_bytes(4, "little") + data for data in (msgspec.msgpack.encode(message) for message in (ASKED, ASKED)))
    heard: list[Any] = []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    received = channel.Channel(ours, channel.FromFront, heard.append, lambda: None)
    for start in range(0, len(encoded), split):
        received.data_received(encoded[start : start + split])
    assert heard == [ASKED, ASKED]
    theirs.close()
    ours.close()
