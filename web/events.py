"""``GET /events``: what happens to versions, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from starlette.types import Receive, Scope, Send

from exportweb.errors import Overloaded
from exportweb.runtime import Event, ServedModel

MAX_CLIENTS = 256
MAX_WAITING = 64  # events that wait for one client; one that is further behind is cut off, reconnects, and asks /versions
KEEP_ALIVE = 15.0  # seconds between comments, so that proxies don't take a quiet stream for a dead one

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # or nginx holds events back
]


class Events:
    """The ASGI endpoint, and the hub between the model's one listener and all clients."""

    def __init__(self, model: ServedModel) -> None:
        self._clients: frozenset[_Client] = frozenset()  # replaced, never changed: another thread walks through it
        self._closed = False
        self._unsubscribe = model.subscribe(self._publish)

    def close(self) -> None:
        """End all streams, so that a server that stops doesn't wait for them. Call it in the server's event loop."""
        self._closed = True
        self._unsubscribe()
        for client in self._clients:
            client.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream events to one client until it leaves or the server stops."""
        if len(self._clients) >= MAX_CLIENTS:
            raise Overloaded(f"{MAX_CLIENTS} clients follow the events already; ask /versions instead.", retry_after=10)
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if scope["method"] == "HEAD" or self._closed:
            await send({"type": "http.response.body", "body": b""})
            return
        client = _Client(asyncio.get_running_loop())
        self._clients |= {client}
        hangup = asyncio.create_task(_hangup(receive, client))
        try:
            await client.stream(send)
        finally:
            hangup.cancel()
            self._clients -= {client}

    def _publish(self, event: Event) -> None:  # in the model's builder thread
        if self._clients:
            text = b"event: %s\ndata: %s\n\n" % (event.kind.encode(), msgspec.json.encode(event))
            for client in self._clients:
                with contextlib.suppress(RuntimeError):  # its loop is closed
                    client.loop.call_soon_threadsafe(client.offer, text)


class _Client:
    """One open stream."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)  # None ends the stream
        self._task = asyncio.current_task()
        self._cut_off = False

    def offer(self, text: bytes | None) -> None:
        """Queue an event; cut the client off when it doesn't read."""
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self._cut_off = True
            assert self._task is not None
            self._task.cancel()

    def end(self) -> None:
        """End the stream after what is queued."""
        self.offer(None)

    async def stream(self, send: Send) -> None:
        """Send events as they come, until the stream ends."""
        try:
            text: bytes | None = b"retry: 1000\n\n"
            while text is not None:
                await send({"type": "http.response.body", "body": text, "more_body": True})
                try:
                    text = await asyncio.wait_for(self._queue.get(), KEEP_ALIVE)
                except asyncio.TimeoutError:
                    text = b": keep-alive\n\n"
            await send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            if not self._cut_off:
                raise


async def _hangup(receive: Receive, client: _Client) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    client.end()
