"""Reading a request's body: bounded in bytes before and while it arrives, bounded in time, held in memory once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import anyio
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from exportweb.errors import BadParameter, Overloaded, TooLarge, TooSlow


class Inbox:
    """The bodies that a server holds.

    One body has at most `max_upload` bytes and arrives within `timeout` seconds; all that are received or answered now
    have at most `max_held` bytes together, so that a crowd of uploads can't take the machine's memory.
    """

    def __init__(self, *, max_upload: int, max_held: int, timeout: float) -> None:
        self.max_upload = max_upload
        self.max_held = max(max_held, max_upload)
        self.timeout = timeout
        self.held = 0

    @contextlib.contextmanager
    def hold(self) -> Iterator[Body]:
        """Return an empty body; what it receives counts as held until the block ends."""
        body = Body(self)
        try:
            yield body
        finally:
            self.held -= body.size


class Body:
    """A body that counts towards its inbox's limits; `size` is what has arrived, in bytes."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self.size = 0

    async def read(self, receive: Receive, length: bytes | None) -> bytes:
        """Receive the whole body; `length` is the Content-Length header.

        Raises `TooLarge`, `TooSlow`, `Overloaded` when the server holds too much already, `BadParameter` when that
        is no number, Starlette's `ClientDisconnect` when the client goes away.
        """
        limit = self._inbox.max_upload
        if length is not None and self._number(length) > limit:
            raise self._too_large()
        chunks: list[bytes] = []
        try:
            with anyio.fail_after(self._inbox.timeout):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk = message.get("body", b"")
                    more = message.get("more_body", False)
                    self.size += len(chunk)
                    self._inbox.held += len(chunk)
                    if self.size > limit:
                        raise self._too_large()
                    if self._inbox.held > self._inbox.max_held:
                        raise Overloaded("The server holds as many uploads as it can; try again in a moment.")
                    chunks.append(chunk)
        except TimeoutError:
            seconds = self._inbox.timeout
            raise TooSlow(f"The body didn't arrive within {seconds:g} s; {self.size} bytes of it did.") from None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body has more than {self._inbox.max_upload} bytes, which is all that this server takes.")

    @staticmethod
    def _number(length: bytes) -> int:
        try:
            return int(length)
        except ValueError:
            raise BadParameter(f"Content-Length should be a number; it is {length[:20]!r}.") from None
