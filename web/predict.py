"""``POST /predict``: the way of a request, from its bytes to JSON. Kept lean: each line here is paid per image."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from exportweb.errors import BadParameter, TimedOut
from exportweb.runtime import Answer, File, ServedModel
from exportweb.web.body import Body, Inbox
from exportweb.web.metrics import Answers
from exportweb.web.payload import parse
from exportweb.web.responses import answer_headers

# Seconds after which a client is watched for having gone away; most have their answer before, and a watch, a task of its own, costs time.
WATCH_AFTER = 0.2

_NPZ = b"application/x-npz"

_encode = msgspec.json.Encoder().encode


class Predict:
    """The ASGI endpoint. What a client did wrong is raised as `RequestError`, and answered where all errors are."""

    def __init__(self, model: ServedModel, answers: Answers, inbox: Inbox, *, timeout: float) -> None:
        self._timeout = timeout
        self._model = model
        self._answers = answers
        self._inbox = inbox
        self._arriving = self._arriving_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; raises `RequestError`, or whatever the model raised."""
        content_type, accept, length = b"", b"", None
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"content-length":
                length = value
            elif name == b"accept":
                accept = value
        predictor = self._model.predictor
        takes = "image" if predictor is None else predictor.takes
        del predictor  # it holds its version's memory
        try:
            with Body(self._inbox) as body:
                payload = parse(await body.read(receive, length), content_type, scope["query_string"], takes=takes)
                if takes == "arrays" and _NPZ in accept:
                    payload.params.setdefault("format", "npz")
                answer = await self._ask(payload.data, payload.params, receive)
        except ClientDisconnect:
            return
        self._answers.observe(answer)
        kind, result = content(answer)
        headers = answer_headers(kind, len(result), answer.version, answer.timings)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": result})

    def refusal(self, size: int) -> int:
        """Return after how many seconds to ask again with a body of this size, 0 if it is welcome now.

        Many heads may arrive before the first of them is queued: those that are welcome count as queued until the loop's next turn.
        """
        seconds = self._model.retry_after(self._arriving + 1, self._arriving_bytes + size)
        if seconds:
            return seconds
        if not self._arriving:
            asyncio.get_running_loop().call_soon(self._arrived)
        self._arriving += 1
        self._arriving_bytes += size
        return 0

    def _arrived(self) -> None:
        self._arriving = self._arriving_bytes = 0

    async def _ask(self, data: bytes, params: dict[str, str], receive: Receive) -> Answer:
        """Queue a request and wait for its answer, or until its time is up or the client goes away: then nothing is computed for it."""
        version = requested(params)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()

        def done(answer: Answer | Exception) -> None:  # in a worker's thread
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server stopped, nobody waits any more
                loop.call_soon_threadsafe(_settle, future, answer)

        job = self._model.submit(data, params, done, version=version)
        watch: asyncio.Task[None] | None = None
        timer: asyncio.TimerHandle

        def look_after() -> None:
            nonlocal watch, timer
            watch = loop.create_task(_gone(receive, future))
            timer = loop.call_later(max(0.0, self._timeout - WATCH_AFTER), self._give_up, future)

        timer = loop.call_later(min(WATCH_AFTER, self._timeout), look_after)
        try:
            return await future
        except BaseException:
            job.cancel()
            raise
        finally:
            timer.cancel()
            if watch is not None:
                watch.cancel()

    def _give_up(self, future: asyncio.Future[Answer]) -> None:
        _settle(future, late(self._timeout))


def late(timeout: float) -> TimedOut:
    """Return what is said to who has waited for so many seconds."""
    return TimedOut(f"There was no answer within {timeout:g} s; the server is too busy. Ask again later.")


def content(answer: Answer) -> tuple[str, bytes]:
    """Return an answer's media type and bytes."""
    return answer.result if isinstance(answer.result, File) else ("application/json", _encode(answer.result))


def requested(params: dict[str, str]) -> int | None:
    """Take the version that a request names out of its parameters; None if it names none. Raises `BadParameter`."""
    version = params.pop("version", None)
    if version is None:
        return None
    if version.isdecimal() and len(version) <= 18:
        return int(version)
    raise BadParameter(f"version={version[:40]!r} should be the number of a loaded version, such as 12; /versions lists them.")


def _settle(future: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


async def _gone(receive: Receive, future: asyncio.Future[Answer]) -> None:
    """Wait until the client hangs up, then end the wait for its answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
    _settle(future, ClientDisconnect())
