"""A connection of a front: plain requests, one after the other; whatever else comes, the server gets it."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from typing import TYPE_CHECKING, cast

from exportweb.web.connection import HEAD_LIMIT, SEND_TIMEOUT
from exportweb.web.fronts.channel import Answered
from exportweb.web.fronts.question import Question
from exportweb.web.refusal import Plain, plain, refused, written
from exportweb.web.responses import Failure, answer_headers

if TYPE_CHECKING:
    from exportweb.web.fronts.front import Front

_CONTENT_TYPE = re.compile(rb"\r\ncontent-type:[ \t]*([^\r]*)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One connection, of which `early` was read before it came here."""

    def __init__(self, front: Front, early: bytes) -> None:
        self._front = front
        self._later = early
        self._leaving = False
        self._request: Plain | None = None
        self._model = 0
        self._chunks: list[bytes] = []
        self._missing = 0  # bytes of the request's body
        self._to_drop = 0  # bytes of one that was refused
        self._held = 0  # bytes of a body that count as held
        self._question: Question | None = None
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[object] | None = None

    def adopt(self, taken: socket.socket) -> None:
        """Be what a socket's bytes come to."""
        loop = asyncio.get_running_loop()
        self._front.connections.add(self)
        self._task = loop.create_task(loop.connect_accepted_socket(lambda: self, taken))

    @property
    def transport(self) -> asyncio.Transport:
        """Its transport."""
        assert self._transport is not None
        return self._transport

    # -- the protocol ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with what was read before."""
        self._transport = cast(asyncio.Transport, transport)
        if self._front.stopping and not self._later:
            self.transport.close()
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Deal with some bytes of requests."""
        if self._later or self._leaving or self._question is not None or self in self._front.stalled:  # it waits for what was asked before
            self._later += data
            self.transport.pause_reading()
        elif self._to_drop:
            self._drop(data)
        elif self._request is not None:
            self._chunks.append(data)
            self._missing -= len(data)
            if self._missing <= 0:
                self._complete()
        else:
            self._begin(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Know that it has ended."""
        question, self._question = self._question, None
        self._hold(0)
        self._front.lost(self, question)

    def pause_writing(self) -> None:
        """Know that its client takes less than is sent."""
        self._front.stalled[self] = time.monotonic(), self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """Know that its client has caught up."""
        self._front.stalled.pop(self, None)
        asyncio.get_running_loop().call_soon(self._go_on)

    # -- requests ----------------------------------------------------------------------------------------------------

    def _begin(self, data: bytes) -> None:
        request = plain(data)
        model = None if request is None else self._front.model(request.path, request.body)
        if request is None or model is None or request.end - request.body > HEAD_LIMIT:
            self.leave(data)
            return
        self._front.idle.pop(self, None)
        seconds = self._front.refusal(model, request.body)
        if seconds:
            self.transport.write(refused("The queue is full", seconds, close=False))
            self._to_drop = request.end
            self._idle()
            self._drop(data)
            return
        self._hold(request.body)
        self._request, self._model = request, model
        self._chunks, self._missing = [data], request.end - len(data)
        if self._missing <= 0:
            self._complete()
        else:
            self._front.incomplete[self] = time.monotonic()

    def _complete(self) -> None:
        assert self._request is not None
        request, self._request = self._request, None
        self._front.incomplete.pop(self, None)
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        start = request.end - request.body
        head, body = data[:start], data[start : request.end]
        self._later = data[request.end :]
        kinds = _CONTENT_TYPE.findall(head)
        self._question = self._front.ask(self, self._model, request.query, kinds[-1] if kinds else b"", head, body)

    def _hold(self, size: int) -> None:
        """Count this many bytes as held for it."""
        self._front.held += size - self._held
        self._held = size

    def _drop(self, data: bytes) -> None:
        dropped = min(self._to_drop, len(data))
        self._to_drop -= dropped
        if not self._to_drop:
            self._later = data[dropped:]
            self._rest()

    def _rest(self) -> None:
        """Wait for the next request, unless it is there already."""
        if self._front.stopping:
            self.transport.close()
            return
        self._idle()
        if self._later:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _idle(self) -> None:
        """Be the last of those that are owed nothing."""
        self._front.idle.pop(self, None)
        self._front.idle[self] = time.monotonic()

    def _go_on(self) -> None:
        if self._question is not None or self._leaving or self in self._front.stalled:
            return
        data, self._later = self._later, b""
        if data and not self.transport.is_closing():
            self.transport.resume_reading()
            self.data_received(data)

    # -- answers -----------------------------------------------------------------------------------------------------

    def answer(self, answer: Answered) -> None:
        """Send a model's answer."""
        headers = answer_headers(answer.kind, len(answer.body), answer.version, answer.timings)
        self._send(200, headers, answer.body)

    def fail(self, failure: Failure) -> None:
        """Send word of what went wrong."""
        response = failure.response()
        self._send(failure.status, response.raw_headers, bytes(response.body))

    def _send(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._question = None
        self._hold(0)
        if not self.transport.is_closing():
            self.transport.write(written(status, [(b"date", self._front.date), *headers], body, close=self._front.stopping))
            self._rest()

    # -- ends --------------------------------------------------------------------------------------------------------

    def leave(self, data: bytes = b"") -> None:
        """Go to the server, with what was read of a request; now, or as soon as what was sent to the client is gone."""
        self._question = None
        self._hold(0)
        self._later = data + self._later
        self._leaving = True
        if self.transport.is_closing():
            return
        connection = self.transport.get_extra_info("socket").fileno()
        if not self.transport.get_write_buffer_size() and self._front.server.hand_over(connection, self._later):
            self._front.forget(self, handed_over=True)
            self.transport.abort()
        else:
            self.transport.pause_reading()
            self._front.leaving[self] = None

    def give_back(self) -> None:
        """Go to the server, since a body takes long."""
        self._request = None
        self._front.incomplete.pop(self, None)
        data, self._chunks = b"".join(self._chunks), []
        self.leave(data)

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()

    def look_at_stall(self, now: float) -> None:
        """End it if its client has taken nothing for long of what is sent."""
        since, size = self._front.stalled[self]
        left = self.transport.get_write_buffer_size()
        if left < size:
            self._front.stalled[self] = now, left
        elif now - since > SEND_TIMEOUT:
            self.transport.abort()
