"""The channel between the server and a front: messages through one socket, and connections, which are files, through another.

A message is its length (4 bytes, little endian) and msgpack. What fills the sockets waits in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

import msgspec

from exportweb.web.fronts.slots import Placed

_LENGTH = struct.Struct("<I")
_NUMBER = struct.Struct("<Q")


class _Message(msgspec.Struct, array_like=True, tag=True):
    """Something that one side tells the other."""


class Connected(_Message):
    """A connection is handed over: the socket that has this number, of which these bytes were read and not dealt with."""

    number: int
    data: bytes


# -- from a front ----------------------------------------------------------------------------------------------------


class Ready(_Message):
    """It takes connections; `process` is its number."""

    process: int


class Asked(_Message):
    """A request about an image that is prepared as description number `preparation` says, after it had waited for so many seconds."""

    id: int
    model: int
    params: dict[str, str]
    preparation: int
    arrays: dict[str, Placed]
    stages: dict[str, float]
    size: tuple[int, int] | None
    waited: float


class Dropped(_Message):
    """Nobody waits for an answer any more; the front has said `status`, or 499 if the client went away."""

    id: int
    model: int
    status: int


class Told(_Message):
    """The front itself has answered requests for a model with this status."""

    model: int
    status: int
    count: int


class Left(_Message):
    """Connections have ended."""

    count: int


FromFront = Ready | Asked | Dropped | Told | Left | Connected

# -- to a front ------------------------------------------------------------------------------------------------------


class Described(_Message):
    """How a model's images are prepared from now on: by description `number` (see `runtime.preparation`); None if only the server can."""

    model: int
    number: int
    description: bytes | None


class Again(_Message):
    """A request's image has to be prepared by another description, as it was for another version."""

    id: int
    number: int
    description: bytes


class Answered(_Message):
    """What a model answered, and how long each stage took, in seconds."""

    id: int
    version: int
    kind: str
    body: bytes
    timings: dict[str, float]


class Failed(_Message):
    """A request that got no answer: the status and the message that say so, and after how many seconds to ask again (0: at any time)."""

    id: int
    status: int
    message: str
    retry_after: int


class Answers(_Message):
    """What became of some requests."""

    answers: list[Answered | Failed | Again]


class Spare(_Message):
    """The connection that has idled for the longest is to be closed: another wants its place."""


class Stop(_Message):
    """No more requests are taken; those that are under way are answered within so many seconds."""

    grace: float


ToFront = Described | Answers | Spare | Stop | Connected


class Channel(asyncio.Protocol):
    """One side of it. `received` is called with each message, of `kind`; `ended` when the other side has gone.

    `files` is the socket for connections. All methods are for the event loop's thread.
    """

    def __init__(self, files: socket.socket, kind: Any, received: Callable[[Any], None], ended: Callable[[], None]) -> None:
        files.setblocking(False)
        self._files = files
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._received = received
        self._ended = ended
        self._buffer = b""
        self._sockets: dict[int, socket.socket] = {}
        self._number = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Pass on each message that is whole."""
        data = self._buffer + data if self._buffer else data
        start = 0
        while len(data) >= start + _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, start)
            end = start + _LENGTH.size + length
            if len(data) < end:
                break
            self._received(self._decode(memoryview(data)[start + _LENGTH.size : end]))
            start = end
        self._buffer = data[start:]

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._transport = None
        self._files.close()
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()
        self._ended()

    def send(self, message: Any) -> None:
        """Send a message, unless the other side has gone."""
        if self._transport is not None:
            data = self._encode(message)
            self._transport.write(_LENGTH.pack(len(data)) + data)

    def hand_over(self, connection: int, data: bytes) -> bool:
        """Give the other side a connection, a descriptor that it gets a copy of, with bytes that were read; False if that can't be now."""
        if self._transport is None:
            return False
        self._number += 1
        try:
            socket.send_fds(self._files, [_NUMBER.pack(self._number)], [connection])
        except OSError:
            return False
        self.send(Connected(self._number, data))
        return True

    def take(self, number: int) -> socket.socket | None:
        """Return the connection with this number that the other side has handed over; None if that went wrong."""
        with contextlib.suppress(OSError):  # all that were handed over before a message about them are there
            while number not in self._sockets:
                name, files, _, _ = socket.recv_fds(self._files, _NUMBER.size, 1)
                if not name:
                    break
                for file in files:
                    self._sockets[_NUMBER.unpack(name)[0]] = socket.socket(fileno=file)
        return self._sockets.pop(number, None)

    def close(self) -> None:
        """End it, for both sides, once what was sent has gone."""
        if self._transport is not None:
            self._transport.close()
