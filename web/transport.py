"""One write an answer: uvicorn writes its head and its body by themselves, and uvloop hands each over at once."""

from __future__ import annotations

import asyncio
from typing import Any

_LARGE = 65536
"""Bytes from which on what is written isn't worth a copy."""


class Gathering:
    """A transport that hands what is written in one turn of the event loop over in one piece; in all else it is the one that it has."""

    __slots__ = ("_loop", "_transport", "_written")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write some bytes, at the latest in the loop's next turn."""
        if len(data) >= _LARGE:
            self.write_now(data)
            return
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def write_now(self, data: bytes) -> None:
        """Write some bytes that nothing will follow in this turn."""
        self.flush()
        self._transport.write(data)

    def flush(self) -> None:
        """Hand over what was written, unless the client has gone meanwhile."""
        if self._written:
            data = b"".join(self._written)
            self._written.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Close the transport once what was written is sent."""
        self.flush()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes aren't sent yet."""
        self.flush()
        return self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
