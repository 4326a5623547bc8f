"""A front: a process that takes requests for predictions and prepares their images, so that the server only runs the model.

In one process, threads that prepare images and the event loop wait for each other's GIL. That is what a server with a GPU or many cores
is short of first. A front has a GIL of its own, and all of HTTP in it for requests that are plain (see `web.refusal`): a POST to a model
whose head comes whole. A connection on which anything else comes, or on which a body takes long, is handed back to the server, which can do
everything. Fronts are forked from one new interpreter, since the server has threads and may have CUDA, and share what that has imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import mmap
import os
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import msgspec

from exportweb.errors import Overloaded, RequestError, TimedOut
from exportweb.runtime.preparation import described
from exportweb.runtime.reader import Prepared
from exportweb.runtime.slots import Slots
from exportweb.web import channel
from exportweb.web.board import Board
from exportweb.web.front_connection import Connection, Question
from exportweb.web.payload import parse
from exportweb.web.responses import Failure, failure

INCOMPLETE = 1.0  # seconds that a body may take to arrive here
_LARGE = 1 << 20  # bytes of an image file from which on others don't wait for it
_SWEEP = 0.25  # seconds between two looks at what has taken too long


class Begin(msgspec.Struct, array_like=True, frozen=True):
    """What fronts are started with: for each its number and its descriptors of files (messages, connections, memory); the board's, and what
    all have in common.
    """

    fronts: list[tuple[int, int, int, int]]
    board: int
    paths: dict[str, int]
    max_pixels: list[int]
    max_upload: int
    max_held: int
    timeout: float
    keep_alive: float


class Front:
    """The state of one front. Connections tell it what they get, the channel what the server says."""

    def __init__(self, begin: Begin, number: int, memory: mmap.mmap, board: Board) -> None:
        self.begin = begin
        self.date = b""
        self.stopping = False
        self.connections: set[Connection] = set()
        self.idle: dict[Connection, float] = {}  # since when, in that order
        self.incomplete: dict[Connection, float] = {}
        self.leaving: dict[Connection, None] = {}
        self.stalled: dict[Connection, tuple[float, int]] = {}
        self._number = number
        self._board = board
        self._slots = Slots(memory)
        self._paths = {path.encode(): model for path, model in begin.paths.items()}
        self._descriptions: dict[int, tuple[int, bytes | None]] = {}
        self._questions: dict[int, Question] = {}  # those without an answer, in the order in which they came
        self._waiting: list[deque[Question]] = [deque() for _ in begin.max_pixels]  # by model
        self._used = [0.0] * len(begin.max_pixels)  # seconds that each model has had
        self._clock = 0.0
        self._working = False
        self._held = self._count = self._gone = 0
        self._told: Counter[tuple[int, int]] = Counter()
        self._pool = ThreadPoolExecutor(1)
        self._end = 0.0
        self._channel: channel.Channel | None = None

    async def run(self, messages: socket.socket, files: socket.socket) -> None:
        """Work until the server has no need of it any more, or has gone."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        self._channel = channel.Channel(files, channel.ToFront, self._received, ended.set)
        await loop.connect_accepted_socket(lambda: self.server, messages)
        self.server.send(channel.Ready(os.getpid()))
        while not ended.is_set():
            self._sweep(time.monotonic())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), _SWEEP)

    @property
    def server(self) -> channel.Channel:
        """The channel to the server."""
        assert self._channel is not None
        return self._channel

    # -- what the server says ----------------------------------------------------------------------------------------

    def _received(self, message: Any) -> None:
        match message:
            case channel.Answers():
                for answer in message.answers:
                    self._answered(answer)
            case channel.Connected():
                taken = self.server.take(message.number)
                if taken is None:
                    self._gone += 1
                else:
                    Connection(self, message.data).adopt(taken)
            case channel.Described():
                self._descriptions[message.model] = message.number, message.description
            case channel.Spare():
                if self.idle:
                    next(iter(self.idle)).close()
            case channel.Stop():
                self.stopping, self._end = True, time.monotonic() + message.grace
                for connection in list(self.idle):
                    connection.close()
                for connection in list(self.incomplete):
                    connection.give_back()
                self._finish()

    def _answered(self, answer: channel.Answered | channel.Failed | channel.Again) -> None:
        question = self._questions.get(answer.id)
        if question is None:  # nobody waits any more
            return
        self._slots.free(question.placed)
        question.placed = {}
        if isinstance(answer, channel.Again):
            question.description, question.prepared = (answer.number, answer.description), None
            self._waiting[question.model].appendleft(question)
            self._work_soon()
            return
        self._end_of(question)
        if isinstance(answer, channel.Failed):
            question.connection.fail(Failure(answer.status, answer.message, answer.retry_after))
        else:
            question.connection.answer(answer)

    # -- what connections say ----------------------------------------------------------------------------------------

    def model(self, path: bytes, size: int) -> int | None:
        """Return which model a plain request with a body of `size` bytes is for, None if it isn't this process's to answer."""
        model = self._paths.get(path)
        if model is None or size > self.begin.max_upload or self._descriptions.get(model, (0, None))[1] is None:
            return None
        return model

    def refusal(self, model: int, size: int) -> int:
        """Return after how many seconds a request should be made again, 0 if it is welcome now."""
        seconds = self._board.refusal(model)
        if not seconds and self._held and self._held + size > self.begin.max_held:
            seconds = 1
        if seconds:
            self.tell(model, Overloaded.status)
        return seconds

    def ask(self, connection: Connection, model: int, query: bytes, content_type: bytes, head: bytes, body: bytes) -> Question | None:
        """Take a whole request; None if it is answered already."""
        try:
            data, params = parse(body, content_type, query)
        except RequestError as error:
            self.tell(model, error.status)
            connection.fail(failure(error))
            return None
        self._count += 1
        question = Question(self._count, connection, model, head, body, data, params, time.monotonic())
        self._questions[question.id] = question
        self._held += len(body)
        if not any(self._waiting[model]):
            self._used[model] = max(self._used[model], self._clock)  # time in which nothing was asked of it is not saved up
        self._waiting[model].append(question)
        self._work_soon()
        return question

    def tell(self, model: int, status: int) -> None:
        """Have an answer counted that this process gave by itself."""
        self._told[model, status] += 1

    def lost(self, connection: Connection, question: Question | None) -> None:
        """Know that a connection has ended, with a question that was not answered."""
        if question is not None:
            self._drop(question, 499)
        self.forget(connection)
        self._finish()

    def forget(self, connection: Connection, *, handed_over: bool = False) -> None:
        """Let go of a connection."""
        if connection in self.connections:
            self.connections.remove(connection)
            self._gone += not handed_over
            for those in (self.idle, self.incomplete, self.leaving, self.stalled):
                those.pop(connection, None)

    # -- images ------------------------------------------------------------------------------------------------------

    def _work_soon(self) -> None:
        self._show()
        if not self._working:
            self._working = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        """Prepare one image, for the model that has had the fewest seconds; what came meanwhile goes between it and the next."""
        self._working = False
        ready = [model for model, waiting in enumerate(self._waiting) if waiting]
        if not ready:
            return
        model = min(ready, key=self._used.__getitem__)
        self._clock = self._used[model]
        question = self._waiting[model].popleft()
        if question.id in self._questions:
            if question.prepared is not None:
                self._place(question, question.prepared)
            else:
                self._prepare(question)
        if question not in self._waiting[model] and any(self._waiting):
            self._work_soon()
        self._show()

    def _prepare(self, question: Question) -> None:
        question.description = question.description or self._descriptions[question.model]
        description = question.description[1]
        if description is None:
            self._give_back(question)
            return
        question.waited = time.monotonic() - question.since
        prepare, most = described(description), self.begin.max_pixels[question.model]
        if len(question.data) > _LARGE:
            future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: prepare(question.data, max_pixels=most))
            future.add_done_callback(lambda done: self._prepared(question, done.exception() or done.result()))
            return
        try:
            found: Prepared | BaseException = prepare(question.data, max_pixels=most)
        except Exception as error:
            found = error
        self._prepared(question, found)

    def _prepared(self, question: Question, found: Prepared | BaseException) -> None:
        if question.id not in self._questions:
            return
        if isinstance(found, RequestError):
            self._end_of(question)
            self.tell(question.model, found.status)
            question.connection.fail(failure(found))
        elif isinstance(found, BaseException):  # the server tries it again, and says what is wrong
            self._give_back(question)
        else:
            self._used[question.model] += sum(found.stages.values())
            self._place(question, found)

    def _place(self, question: Question, prepared: Prepared) -> None:
        """Ask the server; later, if there is no room for the image in the memory now."""
        placed = self._slots.place(prepared.arrays)
        if placed is None:
            if any(other.placed for other in self._questions.values()):
                question.prepared = prepared
                self._waiting[question.model].appendleft(question)
            else:
                self._give_back(question)
            return
        question.placed, question.prepared = placed, None
        assert question.description is not None
        self.server.send(
            channel.Asked(
                question.id,
                question.model,
                question.params,
                question.description[0],
                placed,
                dict(prepared.stages),
                prepared.size,
                question.waited,
            )
        )

    # -- ends --------------------------------------------------------------------------------------------------------

    def _give_back(self, question: Question) -> None:
        """Leave a request to the server."""
        self._end_of(question)
        question.connection.leave(question.head + question.body)

    def _drop(self, question: Question, status: int) -> None:
        """Give up a question."""
        self._end_of(question)
        self.server.send(channel.Dropped(question.id, question.model, status))

    def _end_of(self, question: Question) -> None:
        if self._questions.pop(question.id, None) is not None:
            self._held -= len(question.body)
            self._slots.free(question.placed)
            if any(self._waiting):
                self._work_soon()

    def _show(self) -> None:
        self._board.wait(self._number, sum(map(len, self._waiting)))

    def _sweep(self, now: float) -> None:
        """End what has taken too long, and tell the server what needn't be told at once."""
        self.date = formatdate(usegmt=True).encode()
        for question in list(self._questions.values()):
            if now - question.since < self.begin.timeout and not (self.stopping and now > self._end):
                break
            error = _closing() if self.stopping and now > self._end else _late(self.begin.timeout)
            self._drop(question, error.status)
            question.connection.fail(failure(error))
        for connection, since in list(self.incomplete.items()):
            if now - since > INCOMPLETE:
                connection.give_back()
        for connection in list(self.leaving):
            connection.leave()
        for connection, since in list(self.idle.items()):
            if now - since < self.begin.keep_alive:
                break
            connection.close()
        for connection in list(self.stalled):
            connection.look_at_stall(now)
        self._report()
        if self.stopping and now > self._end:
            for connection in list(self.connections):
                connection.close()
        self._finish()

    def _report(self) -> None:
        if self._gone:
            self.server.send(channel.Left(self._gone))
            self._gone = 0
        for (model, status), count in self._told.items():
            self.server.send(channel.Told(model, status, count))
        self._told.clear()

    def _finish(self) -> None:
        """End, if nothing is left to be done after the server has said to stop."""
        if self.stopping and not self.connections:
            self._report()
            self.server.close()


def _late(timeout: float) -> TimedOut:
    return TimedOut(f"There was no answer within {timeout:g} s; the server is too busy. Ask again later.")


def _closing() -> Overloaded:
    return Overloaded("The server is shutting down; ask again in a moment.", retry_after=5)


def main(told: str) -> None:
    """Fork the fronts that are described by JSON, and wait until they have ended."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # of a terminal or a service, they reach all processes; the server decides
        signal.signal(stop, signal.SIG_IGN)
    begin = msgspec.json.decode(told, type=Begin)
    gc.freeze()  # what is there now stays, and stays shared
    for number, *files in begin.fronts:
        if not os.fork():
            _close(file for other in begin.fronts if other[0] != number for file in other[1:])
            _front(begin, number, files)
            os._exit(0)
    _close(file for other in begin.fronts for file in other[1:])
    os.close(begin.board)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _close(files: Any) -> None:
    for file in files:
        os.close(file)


def _front(begin: Begin, number: int, files: Sequence[int]) -> None:
    messages, connections, memory = files
    front = Front(begin, number, mmap.mmap(memory, 0), Board(begin.board, models=len(begin.max_pixels)))
    os.close(memory)
    work = front.run(socket.socket(fileno=messages), socket.socket(fileno=connections))
    try:
        uvloop: Any = __import__("uvloop")
        uvloop.run(work)
    except ImportError:
        asyncio.run(work)
