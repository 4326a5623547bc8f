"""Fronts, as the server sees them: it starts them when they are missed, gives them connections, has them answered.

One that ends, whatever ended it, costs the connections that it had: another takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from exportweb.runtime import ServedModel
from exportweb.web.fronts import channel
from exportweb.web.fronts.answering import Answering
from exportweb.web.fronts.known import Known
from exportweb.web.fronts.process import Begin
from exportweb.web.fronts.spawn import Spawned, possible, spawn
from exportweb.web.metrics import Metrics
from exportweb.web.refusal import Plain

log = logging.getLogger(__name__)

PATIENCE = 16
"""How often fronts are missed in a second before they are worth their start."""

_CROWD = 2  # requests in flight that get along without fronts
_AGAIN = 1.0  # seconds until a front that ended is replaced
_FAILURES = 3  # fronts that ended before they took anything, one after the other, after which there are no more
_HEAD = 1 << 20  # bytes that are handed over with a connection


class Fronts:
    """At most `count` fronts for some models; `paths` says by which path each is asked.

    The options are those of `web.create_app`; `adopt` is given connections that come back, with the bytes that were read. All methods are
    for the event loop's thread.
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        paths: Mapping[bytes, str],
        metrics: Metrics,
        *,
        count: int,
        adopt: Callable[[socket.socket, bytes], None],
        max_upload: int,
        max_held: int,
        timeout: float,
        keep_alive: float,
    ) -> None:
        self._models = list(models.items())
        self._paths = {path: list(models).index(name) for path, name in paths.items()}
        self._count = count if possible() else 0
        self._adopt = adopt
        self._max_upload, self._timeout, self._keep_alive = max_upload, timeout, keep_alive
        self._max_held = max(max_held // max(count, 1), max_upload)
        self._fronts: list[Spawned] = []
        self._missed: deque[float] = deque(maxlen=PATIENCE)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failures = 0
        self._stopping = False
        self._ended = asyncio.Event()
        self._known = Known([model for _, model in self._models], count=self._count)
        self._answering = Answering(self._models, self._fronts, self._known, metrics, self._soon)
        for _, model in self._models:
            model.subscribe(lambda event: self._soon(self._describe))

    def __len__(self) -> int:
        """Return how many take connections now."""
        return sum(front.process > 0 for front in self._fronts)

    @property
    def connections(self) -> int:
        """How many connections they have."""
        return sum(front.connections for front in self._fronts)

    # -- connections -------------------------------------------------------------------------------------------------

    def take(self, connection: int, request: Plain, data: bytes, *, in_flight: int) -> bool:
        """Give a connection, a descriptor of which a copy is taken, to a front, with a request that has come on it; False if there is none
        for it, which is remembered where `in_flight` requests are a crowd.
        """
        model = self._paths.get(request.path)
        if not self._count or model is None or self._stopping or len(data) > _HEAD:
            return False
        if not self._known.open and in_flight > _CROWD:
            self._miss()
        ready = [front for front in self._fronts if front.process]
        if not ready or not self._known.prepares(model):
            return False
        front = min(ready, key=lambda front: front.connections)
        assert front.channel is not None
        if not front.channel.hand_over(connection, data):
            return False
        front.connections += 1
        return True

    def spare(self) -> bool:
        """Have a connection closed that has idled for long; False if there are none."""
        front = max(self._fronts, key=lambda front: front.connections, default=None)
        if front is None or front.channel is None or not front.connections:
            return False
        front.channel.send(channel.Spare())
        return True

    # -- their lives -------------------------------------------------------------------------------------------------

    def _miss(self) -> None:
        now = time.monotonic()
        self._missed.append(now)
        if len(self._missed) == PATIENCE and now - self._missed[0] < 1:
            self._loop = asyncio.get_running_loop()
            self._known.begin()
            self._start(range(self._count))

    def _start(self, numbers: range) -> None:
        if self._stopping or not self._count:
            return
        begin = functools.partial(
            Begin,
            board=self._known.file,
            paths={path.decode(): model for path, model in self._paths.items()},
            max_pixels=[model.max_pixels for _, model in self._models],
            max_upload=self._max_upload,
            max_held=self._max_held,
            timeout=self._timeout,
            keep_alive=self._keep_alive,
        )
        try:
            fronts, process = spawn(numbers, begin)
        except OSError as error:
            log.info("No process can be started to take requests, so threads do all: %s", error)
            self._count = 0
            return
        self._processes = [*(other for other in self._processes if other.poll() is None), process]
        for front in fronts:
            self._fronts.append(front)
            self._run(self._connect(front))

    async def _connect(self, front: Spawned) -> None:
        loop = asyncio.get_running_loop()
        received, ended = functools.partial(self._received, front), functools.partial(self._lost, front)
        front.channel = opened = channel.Channel(front.passed, channel.FromFront, received, ended)
        await loop.connect_accepted_socket(lambda: opened, front.messages)

    def _lost(self, front: Spawned) -> None:
        """Know that a front has ended."""
        self._fronts.remove(front)
        for id in list(front.jobs):
            self._answering.drop(front, id, None, 499)
        self._known.gone(front.number)
        self._failures += not front.process
        if self._stopping:
            if not self._fronts:
                self._ended.set()
        elif self._failures > _FAILURES:
            log.warning("Processes that take requests end as soon as they are started, so threads do all.")
            self._count = 0
        else:
            log.warning("A process that takes requests has ended; another takes its place.")
            asyncio.get_running_loop().call_later(_AGAIN, self._start, range(front.number, front.number + 1))

    async def close(self, grace: float) -> None:
        """Have what they were asked answered within `grace` seconds, and end them."""
        self._stopping = True
        for front in self._fronts:
            if front.channel is not None:
                front.channel.send(channel.Stop(grace))
        if self._fronts:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ended.wait(), grace + 1)
        for front in self._fronts:
            if front.channel is not None:
                front.channel.close()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.get_running_loop().run_in_executor(None, functools.partial(process.wait, 1))
            if process.poll() is None:
                process.kill()
                process.wait()
        self._known.end()

    # -- what they say -----------------------------------------------------------------------------------------------

    def _received(self, front: Spawned, message: Any) -> None:
        match message:
            case channel.Asked():
                self._answering.asked(front, message)
            case channel.Dropped():
                self._answering.drop(front, message.id, message.model, message.status)
            case channel.Told():
                self._answering.told(message)
            case channel.Left():
                front.connections -= message.count
            case channel.Connected():
                front.connections -= 1
                assert front.channel is not None
                taken = front.channel.take(message.number)
                if taken is not None:
                    self._adopt(taken, message.data)
            case channel.Ready():
                front.process, self._failures = message.process, 0
                self._describe(front)
                if len(self) == self._count:
                    log.info("%d processes take requests from now on.", self._count)

    def _describe(self, fresh: Spawned | None = None) -> None:
        """Tell how images are prepared: one that is new everything, all what has changed."""
        changed = self._known.changed()
        for front in self._fronts:
            for described in self._known.all() if front is fresh else changed:
                if front.channel is not None:
                    front.channel.send(described)

    def _soon(self, function: Callable[[], None]) -> None:
        """Call something in the event loop; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed: the server stopped
                self._loop.call_soon_threadsafe(function)

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
