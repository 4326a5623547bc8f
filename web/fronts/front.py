"""One front: what its connections ask, what the server says, and what has taken too long."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
import time
from collections import Counter
from email.utils import formatdate
from typing import Any

from exportweb.errors import Overloaded, RequestError
from exportweb.runtime import Prepared
from exportweb.web.fronts import channel
from exportweb.web.fronts.board import Board
from exportweb.web.fronts.connection import Connection
from exportweb.web.fronts.images import Images
from exportweb.web.fronts.process import Begin
from exportweb.web.fronts.question import Question
from exportweb.web.payload import parse
from exportweb.web.predict import late
from exportweb.web.responses import Failure, failure

INCOMPLETE = 1.0  # seconds that a body may take to arrive here
_SWEEP = 0.25  # seconds between two looks at what has taken too long


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
        self._board = board
        self._images = Images(
            memory,
            begin.max_pixels,
            done=self._ask,
            refused=self._refuse,
            left=self._give_back,
            alive=lambda question: question.id in self._questions,
            waiting=lambda count: board.wait(number, count),
        )
        self._paths = {path.encode(): model for path, model in begin.paths.items()}
        self._questions: dict[int, Question] = {}  # those without an answer, in the order in which they came
        self.held = 0  # bytes of bodies that are here or on their way
        self._count = self._gone = 0
        self._told: Counter[tuple[int, int]] = Counter()
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
                self._images.descriptions[message.model] = message.number, message.description
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
        if isinstance(answer, channel.Again):
            self._images.free(question)
            question.description = answer.number, answer.description
            self._images.add(question, first=True)
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
        if model is None or size > self.begin.max_upload or self._images.descriptions.get(model, (0, None))[1] is None:
            return None
        return model

    def refusal(self, model: int, size: int) -> int:
        """Return after how many seconds a request should be made again, 0 if it is welcome now."""
        seconds = self._board.refusal(model)
        if not seconds and self.held and self.held + size > self.begin.max_held:
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
        self._images.add(question)
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

    # -- what comes of images ----------------------------------------------------------------------------------------

    def _ask(self, question: Question, prepared: Prepared) -> None:
        """Ask the server about an image that is prepared."""
        assert question.description is not None
        number, stages = question.description[0], dict(prepared.stages)
        placed, size = question.placed, prepared.size
        self.server.send(channel.Asked(question.id, question.model, question.params, number, placed, stages, size, question.waited))

    def _refuse(self, question: Question, error: RequestError) -> None:
        """Say what is wrong with an image."""
        self._end_of(question)
        self.tell(question.model, error.status)
        question.connection.fail(failure(error))

    def _give_back(self, question: Question) -> None:
        """Leave a request to the server."""
        self._end_of(question)
        question.connection.leave(question.head + question.body)

    # -- ends --------------------------------------------------------------------------------------------------------

    def _drop(self, question: Question, status: int) -> None:
        """Give up a question."""
        self._end_of(question)
        self.server.send(channel.Dropped(question.id, question.model, status))

    def _end_of(self, question: Question) -> None:
        if self._questions.pop(question.id, None) is not None:
            self._images.free(question)

    def _sweep(self, now: float) -> None:
        """End what has taken too long, and tell the server what needn't be told at once."""
        self.date = formatdate(usegmt=True).encode()
        for question in list(self._questions.values()):
            if now - question.since < self.begin.timeout and not (self.stopping and now > self._end):
                break
            error = _closing() if self.stopping and now > self._end else late(self.begin.timeout)
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


def _closing() -> Overloaded:
    return Overloaded("The server is shutting down; ask again in a moment.", retry_after=5)
