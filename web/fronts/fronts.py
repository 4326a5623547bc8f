"""Fronts, as the server sees them: it starts them when they are missed, gives them connections, answers what they ask.

One that ends, whatever ended it, costs the connections that it had: another takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from exportweb.runtime import Answer, Handed, OtherPreparation, Prepared, ServedModel
from exportweb.web.fronts import channel
from exportweb.web.fronts.board import Board
from exportweb.web.fronts.process import Begin
from exportweb.web.fronts.slots import look
from exportweb.web.fronts.spawn import Spawned, possible, spawn
from exportweb.web.metrics import Metrics
from exportweb.web.predict import content, requested
from exportweb.web.refusal import Plain
from exportweb.web.responses import failure

log = logging.getLogger(__name__)

PATIENCE = 16
"""How often fronts are missed in a second before they are worth their start."""

_CROWD = 2  # requests in flight that get along without fronts
_AGAIN = 1.0  # seconds until a front that ended is replaced
_FAILURES = 3  # fronts that ended before they took anything, one after the other, after which there are no more
_GLANCE = 0.05  # seconds between two looks at a queue that is full
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
        self._metrics = metrics
        self._count = count if possible() else 0
        self._adopt = adopt
        self._max_upload, self._timeout, self._keep_alive = max_upload, timeout, keep_alive
        self._max_held = max(max_held // max(count, 1), max_upload)
        self._fronts: list[Spawned] = []
        self._missed: deque[float] = deque(maxlen=PATIENCE)
        self._described: list[tuple[int, bytes | None]] = [(0, None)] * len(self._models)
        self._descriptions: list[bytes] = [b""]
        self._board: Board | None = None
        self._board_file = -1
        self._processes: list[subprocess.Popen[bytes]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failures = 0
        self._due = self._glancing = self._stopping = False
        self._ended = asyncio.Event()
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
        if self._board is None and in_flight > _CROWD:
            self._miss()
        ready = [front for front in self._fronts if front.process]
        if not ready or self._described[model][1] is None:
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
            self._board_file = Board.create(models=len(self._models), fronts=self._count)
            self._board = Board(os.dup(self._board_file), models=len(self._models))
            self._show()
            self._start(range(self._count))

    def _start(self, numbers: range) -> None:
        if self._stopping or not self._count:
            return
        begin = functools.partial(
            Begin,
            board=self._board_file,
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
            self._drop(front, id, None, 499)
        if self._board is not None:
            self._board.wait(front.number, 0)
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
        if self._board_file >= 0:
            os.close(self._board_file)

    # -- what they say -----------------------------------------------------------------------------------------------

    def _received(self, front: Spawned, message: Any) -> None:
        match message:
            case channel.Asked():
                self._asked(front, message)
            case channel.Dropped():
                self._drop(front, message.id, message.model, message.status)
            case channel.Told():
                self._told(message)
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

    def _asked(self, front: Spawned, asked: channel.Asked) -> None:
        try:
            arrays = look(front.memory, asked.arrays)
            handed = Handed(self._descriptions[asked.preparation], Prepared(arrays, asked.stages, asked.size), asked.waited)
            _, model = self._models[asked.model]
        except (ValueError, TypeError, LookupError) as error:  # what an image did to it, its word is not to be trusted any more
            log.warning("A process that takes requests said nonsense and is ended: %s", error)
            with contextlib.suppress(OSError):
                os.kill(front.process, signal.SIGKILL)
            return
        done = functools.partial(self._done, front, asked.model, asked.id)
        try:
            job = model.submit(b"", asked.params, done, version=requested(asked.params), handed=handed)
        except OtherPreparation as other:
            if other.wanted is None:
                done(RuntimeError("The version takes no images that are prepared elsewhere."))
            else:
                self._put(front, asked.model, channel.Again(asked.id, self._number(other.wanted), other.wanted), None)
        except Exception as error:
            done(error)
        else:
            front.jobs[asked.id] = job
        self._soon_show()

    def _told(self, told: channel.Told) -> None:
        name, model = self._models[told.model]
        for _ in range(told.count):
            self._metrics.count(("/predict", name), told.status)
        if told.status == 503:
            model.refused()

    def _drop(self, front: Spawned, id: int, model: int | None, status: int) -> None:
        job = front.jobs.pop(id, None)
        if job is not None:
            job.cancel()
        if model is not None:
            self._metrics.count(("/predict", self._models[model][0]), status)

    # -- answers -----------------------------------------------------------------------------------------------------

    def _done(self, front: Spawned, model: int, id: int, answer: Answer | Exception) -> None:
        """Have an answer told; in any thread."""
        try:
            if not isinstance(answer, Exception):
                kind, body = content(answer)
                self._put(front, model, channel.Answered(id, answer.version, kind, body, answer.timings), answer)
                return
            error = answer
        except Exception as unexpected:
            log.exception("An answer can't be written.")
            error = unexpected
        self._put(front, model, channel.Failed(id, *failure(error)), None)

    def _put(self, front: Spawned, model: int, answer: channel.Answered | channel.Failed | channel.Again, counted: Answer | None) -> None:
        front.outbox.append((model, answer, counted))
        if not self._due:
            self._due = True
            self._soon(self._flush)

    def _flush(self) -> None:
        """Tell the fronts all answers that are there, one message each."""
        self._due = False
        for front in self._fronts:
            answers = []
            while front.outbox:
                model, answer, counted = front.outbox.popleft()
                answers.append(answer)
                if isinstance(answer, channel.Again):
                    continue
                if front.jobs.pop(answer.id, None) is None and counted is not None:
                    continue  # nobody waits any more
                name, _ = self._models[model]
                if counted is not None:
                    self._metrics.of(name).observe(counted)
                self._metrics.count(("/predict", name), answer.status if isinstance(answer, channel.Failed) else 200)
            if answers and front.channel is not None:
                front.channel.send(channel.Answers(answers))
        self._show()

    # -- what they know ----------------------------------------------------------------------------------------------

    def _describe(self, only: Spawned | None = None) -> None:
        """Tell how images are prepared: one that is new everything, all what has changed."""
        for index, (_, model) in enumerate(self._models):
            predictor = model.predictor
            wanted = None if predictor is None else predictor.preparation
            changed = wanted != self._described[index][1]
            if changed:
                self._described[index] = self._number(wanted) if wanted is not None else 0, wanted
            for front in [only] if only is not None and not changed else self._fronts if changed else []:
                if front.channel is not None:
                    front.channel.send(channel.Described(index, *self._described[index]))

    def _number(self, description: bytes) -> int:
        if description not in self._descriptions:
            self._descriptions.append(description)
        return self._descriptions.index(description)

    def _soon_show(self) -> None:
        if not self._due:
            self._due = True
            self._soon(self._flush)

    def _show(self) -> None:
        """Write on the board how much room the queues have; while there is none, again and again."""
        if self._board is None:
            return
        full = False
        for index, (_, model) in enumerate(self._models):
            room, seconds = model.room
            self._board.show(index, room, seconds)
            full = full or not room
        if full and not self._glancing and not self._stopping:
            self._glancing = True
            asyncio.get_running_loop().call_later(_GLANCE, self._glance)

    def _glance(self) -> None:
        self._glancing = False
        self._show()

    def _soon(self, function: Callable[[], None]) -> None:
        """Call something in the event loop; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed: the server stopped
                self._loop.call_soon_threadsafe(function)

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
