"""The server process: uvicorn around the app, from the first line that it prints to a stop that loses no request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn
from uvicorn.config import Config

from exportweb.errors import ExportwebError
from exportweb.runtime import ServedModel
from exportweb.web.app import BODY_TIMEOUT, MAX_HELD, MAX_UPLOAD, TIMEOUT, create_app
from exportweb.web.connection import MAX_CONNECTIONS, Connections
from exportweb.web.events import Events
from exportweb.web.fronts import Fronts

GRACE = 10.0  # seconds for accepted requests to be answered once the server is told to stop
RESERVED_FILES = 64  # of those that the process may open; the rest are for connections
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
    max_connections: int = MAX_CONNECTIONS,
    fronts: int = 0,
    exit_with_stdin: bool = False,
) -> None:
    """Serve started models until SIGTERM, SIGINT or, with `exit_with_stdin`, the end of stdin; then close them.

    Prints ``exportweb: serving NAME on URL`` once it listens; port 0 takes a free one. On a stop, what was accepted is
    answered within `grace` seconds, what is left then is refused, and nothing new is taken. There are at most `max_connections` at a
    time, and fewer than files may be open. `fronts` processes take requests when many come (see `web.fronts`).
    Raises `ExportwebError` if it can't listen there.
    """
    try:
        listener = listen(host, port)
    except ExportwebError:
        _close(models)
        raise
    app = create_app(models, max_upload=max_upload, body_timeout=body_timeout, timeout=timeout, cors=cors)
    connections = Connections(limit=_affordable(max_connections), refusal=app.state.refusal, full=app.state.full)
    config = Config(
        app,
        http=connections,  # type: ignore[arg-type]  # called as the class that it expects
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
    if fronts:
        connections.fronts = server.fronts = app.state.fronts = Fronts(
            models,
            app.state.paths,
            app.state.metrics,
            count=fronts,
            adopt=server.adopt,
            max_upload=max_upload,
            max_held=MAX_HELD,
            timeout=timeout,
            keep_alive=KEEP_ALIVE,
        )
    for number in (signal.SIGINT, signal.SIGTERM):
        # Uvicorn's own handlers replace these while it runs, and raise the signal again when it has stopped: by then
        # there is nothing left to do, and the process ends with 0. Before, they stop a server that is just starting.
        signal.signal(number, server.handle_exit)
    if exit_with_stdin:
        threading.Thread(target=server.stop_with_stdin, name="stdin", daemon=True).start()
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.freeze()  # what is there now stays: looking through it, with the GIL, would only keep requests waiting
    try:
        server.run(sockets=[listener])
    finally:
        _close(models)


def _close(models: Mapping[str, ServedModel]) -> None:
    """Close models at once: whoever is not answered by now is gone."""
    with ThreadPoolExecutor(len(models)) as threads:
        list(threads.map(lambda model: model.close(0), models.values()))


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


def _affordable(connections: int) -> int:
    """Return how many connections there may be: some of the files that a process may open are for models and stores."""
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files != resource.RLIM_INFINITY:
            return max(1, min(connections, files - RESERVED_FILES))
    return connections


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Uvicorn's server that says when it listens, and that open event streams don't keep from stopping."""

    def __init__(self, config: Config, events: Sequence[Events], hello: str) -> None:
        super().__init__(config)
        self.fronts: Fronts | None = None
        self._events = events
        self._hello = hello
        self._tasks: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._hello, flush=True)

    def adopt(self, taken: socket.socket, early: bytes) -> None:
        """Serve a connection, of which some bytes were read."""
        loop = asyncio.get_running_loop()
        protocol: Any = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop, early=early
        )
        task = loop.create_task(loop.connect_accepted_socket(lambda: protocol, taken))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.should_exit:
            task.add_done_callback(lambda _: protocol.shutdown())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for events in self._events:
            events.close()
        fronts = [self.fronts.close(self.config.timeout_graceful_shutdown or 0)] if self.fronts is not None else []
        await asyncio.gather(super().shutdown(sockets), *fronts)
        if self.server_state.tasks:  # cancelled, they still say that they were
            await asyncio.wait(self.server_state.tasks, timeout=1)

    def stop_with_stdin(self) -> None:
        """Stop when stdin ends: whoever started this process has gone."""
        with contextlib.suppress(OSError):  # there is no stdin at all
            while os.read(0, 4096):  # not sys.stdin, whose lock this thread would still hold when the interpreter ends
                pass
        self.should_exit = True
