"""Reading a request's body: bounded in bytes before and while it arrives, bounded in time, held in memory once."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from exportweb.errors import BadParameter, Overloaded, TooLarge, TooSlow


class Inbox:
    """What a server holds of bodies, and the limits.

    One body has at most `max_upload` bytes and arrives within `timeout` seconds; all that are received or answered now have at
    most `max_held` bytes together, so that a crowd of uploads can't take the machine's memory. `held` is what they have.
    """

    def __init__(self, *, max_upload: int, max_held: int, timeout: float) -> None:
        self.max_upload = max_upload
        self.max_held = max(max_held, max_upload)
        self.timeout = timeout
        self.held = 0


class Body:
    """A request's body; what it has received counts as held in its inbox until its `with` block ends."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._size = 0

    def __enter__(self) -> Body:
        """Return the body."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let go of what it held."""
        self._inbox.held -= self._size

    async def read(self, receive: Receive, length: bytes | None) -> bytes:
        """Receive the whole body; `length` is the Content-Length header.

        Raises `TooLarge`, `TooSlow`, `Overloaded` when the server holds too much already, `BadParameter` when that header is no
        number, Starlette's `ClientDisconnect` when the client goes away.
        """
        if length is not None and _number(length) > self._inbox.max_upload:
            raise self._too_large()
        deadline = _Deadline(self._inbox.timeout)
        chunks = []
        try:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                more = message.get("more_body", False)
                chunks.append(self._took(message.get("body", b"")))
        except asyncio.CancelledError:
            if not deadline.passed:
                raise
            seconds = self._inbox.timeout
            raise TooSlow(f"The body didn't arrive within {seconds:g} s; {self._size} bytes of it did.") from None
        finally:
            deadline.end()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _took(self, chunk: bytes) -> bytes:
        """Count a chunk."""
        self._size += len(chunk)
        self._inbox.held += len(chunk)
        if self._size > self._inbox.max_upload:
            raise self._too_large()
        if self._inbox.held > self._inbox.max_held:
            raise Overloaded("The server holds as many uploads as it can; try again in a moment.")
        return chunk

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body has more than {self._inbox.max_upload} bytes, which is all that this server takes.")


class _Deadline:
    """Cancels the current task after some seconds, and knows that it did: asyncio.timeout, which Python 3.10 hasn't."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._cancel)

    def end(self) -> None:
        self._timer.cancel()
        if self.passed and sys.version_info >= (3, 11) and self._task is not None:
            self._task.uncancel()

    def _cancel(self) -> None:
        self.passed = True
        if self._task is not None:
            self._task.cancel()


def _number(length: bytes) -> int:
    try:
        return int(length)
    except ValueError:
        raise BadParameter(f"Content-Length should be a number; it is {length[:20]!r}.") from None
