"""Refusals: answers that say to ask again later, and requests that are read just as far as one of these needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from exportweb.web.guard import HEADERS
from exportweb.web.responses import JSONResponse

# What has a meaning of its own here: a connection that isn't to go on, a body of another kind, an upgrade, a page of another origin.
_OTHER = rb"connection:(?![ \t]*keep-alive[ \t]*\r)|content-length|expect|origin|transfer-encoding|upgrade"
_FIELD = rb"(?!%b)[!#$%%&'*+.^_`|~0-9a-z-]+:[^\r\n\0]*\r\n" % _OTHER
_PLAIN = re.compile(
    rb"POST (/[^\s?#]*)(?:\?([^\s#]*))? HTTP/1\.1\r\n(?i:(?:%b)*content-length:[ \t]*(\d{1,15})[ \t]*\r\n(?:%b)*)\r\n" % (_FIELD, _FIELD)
)


class Plain(NamedTuple):
    """A request with a whole head and nothing special in it: its path and query, the bytes of its body, and where that ends."""

    path: bytes
    query: bytes
    body: int
    end: int


def plain(data: bytes) -> Plain | None:
    """Return the request that begins with these bytes; None where only a parser can tell, or where the head isn't all there.

    That is a POST whose body's length is one Content-Length (https://www.rfc-editor.org/rfc/rfc9112#section-6): one pattern does for it,
    where a parser makes a call for each field.
    """
    head = _PLAIN.match(data)
    if head is None:
        return None
    body = int(head[3])
    return Plain(head[1], head[2] or b"", body, head.end() + body)


@lru_cache
def refused(reason: str, seconds: int, *, close: bool) -> bytes:
    """Return a whole answer, head and body, that says to ask again after some seconds."""
    response = JSONResponse({"error": f"{reason}; ask again in {seconds} s."}, headers={"Retry-After": str(seconds)})
    return written(503, response.raw_headers, bytes(response.body), close=close)


def written(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, close: bool) -> bytes:
    """Return a whole answer as it is sent, with the headers that all answers have."""
    last = [CLOSE_HEADER] if close else []
    lines = [name + b": " + value + b"\r\n" for name, value in (*headers, *HEADERS, *last)]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])
