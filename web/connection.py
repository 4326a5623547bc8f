"""Connections: uvicorn's HTTP protocol with limits, which that has few of.

A client that is owed no answer has to get on: a request's head arrives within `HEAD_TIMEOUT` seconds and `HEAD_LIMIT` bytes; what is left
of a body that was answered early, within the same time. One that takes nothing of its answer for `SEND_TIMEOUT` is cut off. A new
connection beyond the most that there may be takes the place of the one that has been owed nothing for the longest, so that idle ones, and
those that send a byte now and then, keep nobody out. A request that would only be refused is, as soon as its head is there: it costs no
task, and its body is dropped as it comes. Where all are refused, requests are looked at every `REST` seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from exportweb.web.refusal import plain, refused
from exportweb.web.transport import Gathering

if TYPE_CHECKING:
    from exportweb.web.fronts import Fronts

HEAD_TIMEOUT = 10.0  # seconds for a request's head to arrive
HEAD_LIMIT = 65536  # bytes of a request's head
SEND_TIMEOUT = 30.0  # seconds in which a client takes at least something of what is sent
MAX_CONNECTIONS = 4096
REST = 0.01
"""Seconds for which a server whose queues are full looks at no request. Waking for each, with cold caches, costs those who compute answers
more than what is done then; who is refused waits for a second or more after that anyway.
"""

_REFUSED: Any = SimpleNamespace(response_complete=True, message_event=asyncio.Event())  # stands for a request that was answered already


class Connections:
    """What the connections of one server share.

    There are at most `limit`. `refusal` is asked with each request's path and size in bytes: after how many seconds it should be made
    again, 0 if it is welcome now; `full` says whether all queues are. `fronts` may take connections.
    """

    def __init__(self, *, limit: int, refusal: Callable[[bytes, int], int], full: Callable[[], bool]) -> None:
        self.limit = limit
        self.fronts: Fronts | None = None
        self.refusal = refusal
        self.full = full
        self.idle: dict[_Connection, None] = {}  # those that are owed nothing, in the order in which they became so
        self.crowded = False  # it rests between two turns
        self._rests = self._grew = False

    def add(self, connection: _Connection) -> None:
        """Take a new connection."""
        self.idle[connection] = None
        self._grew = True

    def crammed(self, count: int) -> bool:
        """Whether there are too many connections, with `count` here, even after the one that has idled for the longest has made room."""
        elsewhere = self.fronts.connections if self.fronts is not None else 0
        if count + elsewhere <= self.limit:
            return False
        if self.idle:
            oldest = next(iter(self.idle))
            del self.idle[oldest]
            oldest.transport.close()
            return False
        return self.fronts is None or not self.fronts.spare()

    def hand_over(self, connection: _Connection, data: bytes) -> bool:
        """Give a connection to a front, if there is one for the request that these bytes begin with."""
        request = plain(data) if self.fronts is not None else None
        if request is None or self.fronts is None or connection.transport.get_write_buffer_size():
            return False
        file = connection.transport.get_extra_info("socket").fileno()
        return self.fronts.take(file, request, data, in_flight=len(connection.tasks))

    def rest(self) -> None:
        """To be called with each refusal: once all that has come is dealt with, and if all queues are full then, sleep for a moment.

        Not while new connections come: libuv accepts one a turn, so that a crowd of them would wait for seconds.
        """
        if not self._rests:
            self._rests = True
            asyncio.get_running_loop().call_soon(self._rest)

    def _rest(self) -> None:
        self._rests, grew, self._grew = False, self._grew, False
        self.crowded = self.full()
        if self.crowded and not grew:
            time.sleep(REST)

    def __call__(self, **given: Any) -> _Connection:
        """Make a connection, as uvicorn does from the class that it is told."""
        return _Connection(self, **given)


class _Connection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, shared: Connections, *, early: bytes = b"", **given: Any) -> None:
        super().__init__(**given)
        self._shared = shared
        self._early = early  # what was read of it before it came here
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_left = HEAD_LIMIT
        self._between = True  # two requests, for all that the parser knows
        self._to_drop = 0  # bytes of the body of one that it doesn't know
        self._welcome = False  # what comes was asked for already

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._out = Gathering(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._out))
        self._start_deadline()
        if self._shared.crammed(len(self.connections)):
            self._refuse("There are too many connections", 1, close=True)
            return
        self._shared.add(self)
        if self._early:
            self.data_received(self._early)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.idle.pop(self, None)
        for timer in (self._timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._shared.fronts is not None and self._between and not self._to_drop and data is not self._early and self._handed_over(data):
            return
        if self._to_drop or (self._shared.crowded and self._between):
            data = self._turned_away(data)
            if not data:
                return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            return
        if self._due is None and self.timeout_keep_alive_task is None:
            self._start_deadline()
        elif self._in_head:
            self._head_left -= len(data)
            if self._head_left < 0:
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._between = False
        self._in_head, self._head_left = True, HEAD_LIMIT
        self._start_deadline()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._end_deadline()
        seconds = 0 if self._welcome else self._refusal()
        self._welcome = False
        if seconds:
            self.cycle = _REFUSED
            self._shared.rest()
            self._refuse("The queue is full", seconds, close=self.expect_100_continue)  # that client waits for leave to send the body
            return
        self._shared.idle.pop(self, None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._between = True
        if self.cycle is _REFUSED:  # the body was dropped; now the connection idles as after any answer
            self._start_deadline(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # else the next request is there already
            self._shared.idle[self] = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_send_deadline()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()

    def _handed_over(self, data: bytes) -> bool:
        """Give the connection to a front, if one takes the request that these bytes begin with."""
        if not self._idles() or not self._shared.hand_over(self, data):
            return False
        self.transport.abort()  # which ends it here alone
        return True

    def _turned_away(self, data: bytes) -> bytes:
        """Refuse a request without the parser, for which most of what a crowd asks is too plain; return what comes behind it."""
        if not self._to_drop:
            request = plain(data) if self._idles() else None
            if request is None:
                return data
            self._shared.rest()  # or it would not be noticed that the crowd has gone
            seconds = self._shared.refusal(request.path, request.body)
            if not seconds:
                self._welcome = True
                return data
            self._unset_keepalive_if_required()
            self._start_deadline()
            self._refuse("The queue is full", seconds)
            self._to_drop = request.end
        dropped = min(self._to_drop, len(data))
        self._to_drop -= dropped
        if not self._to_drop:
            self._start_deadline(self.timeout_keep_alive)
        return data[dropped:]

    def _idles(self) -> bool:
        """Whether a refusal could be written now, and would be the next answer."""
        return not self.flow.write_paused and (self.cycle is None or self.cycle.response_complete)

    def _refusal(self) -> int:
        """Return the seconds after which to ask again, 0 where the app is to answer: also those who would see a reset, not a refusal."""
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return 0
        if not self._idles():
            return 0
        size = 0
        for name, value in self.headers:
            if name == b"origin":  # a page, whose browser needs to be told that it may read the answer
                return 0
            if name == b"content-length" and value.isdigit():
                size = int(value)
        return self._shared.refusal(self.url.partition(b"?")[0], size)

    def _refuse(self, reason: str, seconds: int, *, close: bool = False) -> None:
        self._out.write_now(refused(reason, seconds, close=close))
        if close:
            self.transport.close()

    def _start_deadline(self, seconds: float | None = None) -> None:
        self._due = self.loop.time() + (HEAD_TIMEOUT if seconds is None else seconds)
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_TIMEOUT, self._check_deadline)

    def _end_deadline(self) -> None:
        self._due = None  # the timer stays, for the next one: that it wakes for nothing now and then costs less than one a request

    def _check_deadline(self) -> None:
        self._timer = None
        if self._due is None:
            return
        left = self._due - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(min(left, HEAD_TIMEOUT), self._check_deadline)
        else:
            self.timeout_keep_alive_handler()

    def _start_send_deadline(self) -> None:
        self._send_timer = self.loop.call_later(SEND_TIMEOUT, self._check_sent, self.transport.get_write_buffer_size())

    def _check_sent(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._start_send_deadline()
        else:
            self.transport.abort()
