"""The server process: uvicorn around the app, from the first line that it prints to a stop that loses no request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from exportweb.errors import ExportwebError
from exportweb.runtime import ServedModel
from exportweb.web.app import BODY_TIMEOUT, MAX_UPLOAD, TIMEOUT, create_app
from exportweb.web.events import Events

GRACE = 10.0  # seconds for accepted requests to be answered once the server is told to stop
HEAD_TIMEOUT = 10.0  # seconds for a request's head to arrive
HEAD_LIMIT = 65536  # bytes of a request's head
KEEP_ALIVE = 75  # seconds that a connection may idle: more than the 60 of common load balancers, which must be first to close
SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes in Python lets the event loop have its turn (Python's own default is 0.005).

With mobilenetv3_small_050 and 8 clients on two busy cores, 0.0005 answered 1.05 to 1.25 times as much; with 1 or 32 clients, or a
trivial model, the difference was lost in the noise, and 0.0001 was no better.
"""


def run(
    models: Mapping[str, ServedModel],
    *,
    name: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    log_level: str = "info",
    max_upload: int = MAX_UPLOAD,
    body_timeout: float = BODY_TIMEOUT,
    timeout: float = TIMEOUT,
    cors: Sequence[str] = (),
    grace: float = GRACE,
    exit_with_stdin: bool = False,
) -> None:
    """Serve started models until SIGTERM, SIGINT or, with `exit_with_stdin`, the end of stdin; then close them.

    Prints ``exportweb: serving NAME on URL`` once it listens; port 0 takes a free one. On a stop, what was accepted is
    answered within `grace` seconds and nothing new is taken. Raises `ExportwebError` if it can't listen there.
    """
    listener = listen(host, port)
    app = create_app(models, max_upload=max_upload, body_timeout=body_timeout, timeout=timeout, cors=cors)
    config = Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="debug" if log_level == "debug" else "warning",
        access_log=False,
        proxy_headers=False,  # nothing here asks who the client is
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    url = _url(host, listener.getsockname()[1])
    server = _Server(config, app.state.events, f"exportweb: serving {name} on {url}")
    for number in (signal.SIGINT, signal.SIGTERM):
        # Uvicorn's own handlers replace these while it runs, and raise the signal again when it has stopped: by then
        # there is nothing left to do, and the process ends with 0. Before, they stop a server that is just starting.
        signal.signal(number, server.handle_exit)
    if exit_with_stdin:
        threading.Thread(target=server.stop_with_stdin, name="stdin", daemon=True).start()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        server.run(sockets=[listener])
    finally:
        with ThreadPoolExecutor(len(models)) as threads:
            list(threads.map(lambda model: model.close(grace), models.values()))


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; raise `ExportwebError` that says what to do if there can't be one."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ExportwebError(f"The host {host!r} isn't known here: {error.strerror or error}.") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ExportwebError(
            f"Can't listen on {host}:{port}: {(error.strerror or str(error)).lower()}. Choose another port with --port; 0 takes a free one."
        ) from error
    return listener


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Uvicorn's server that says when it listens, and that open event streams don't keep from stopping."""

    def __init__(self, config: Config, events: Sequence[Events], hello: str) -> None:
        super().__init__(config)
        self._events = events
        self._hello = hello

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._hello, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for events in self._events:
            events.close()
        await super().shutdown(sockets)

    def stop_with_stdin(self) -> None:
        """Stop when stdin ends: whoever started this process has gone."""
        with contextlib.suppress(OSError):  # there is no stdin at all
            while os.read(0, 4096):  # not sys.stdin, whose lock this thread would still hold when the interpreter ends
                pass
        self.should_exit = True


class _Protocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol with a deadline, which that has none of: a client that is owed no answer has to get on.

    A request's head arrives within `HEAD_TIMEOUT` seconds and `HEAD_LIMIT` bytes; what is left of a body that was
    answered early, within the same time.
    """

    _deadline: asyncio.TimerHandle | None = None
    _in_head = False
    _head_left = HEAD_LIMIT

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            return
        if self._deadline is None and self.timeout_keep_alive_task is None:
            self._start_deadline()
        elif self._in_head:
            self._head_left -= len(data)
            if self._head_left < 0:
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_left = True, HEAD_LIMIT
        if self._deadline is None:
            self._start_deadline()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._end_deadline()
        super().on_headers_complete()

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(HEAD_TIMEOUT, self.timeout_keep_alive_handler)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
