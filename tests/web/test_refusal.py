from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exportweb.web.refusal import plain, refused

START = b"POST /predict HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("head", "path", "query", "body"),
    [
        (START + b"Content-Length: 5\r\n\r\n", b"/predict", b"", 5),
        (START + b"Host: x\r\ncontent-length:  0 \r\nAccept: */*\r\n\r\n", b"/predict", b"", 0),
        (
            b"POST /models/a%20b/predict?k=3 HTTP/1.1\r\nConnection: Keep-Alive\r\nContent-Length: 70000\r\n\r\n",
            b"/models/a%20b/predict",
            b"k=3",
            70000,
        ),
    ],
)
def test_a_plain_request_is_known_by_its_head(head: bytes, path: bytes, query: bytes, body: int) -> None:
    assert plain(head + b"body") == (path, query, body, len(head) + body)


@pytest.mark.parametrize(
    "head",
    [
        START + b"Content-Length: 5\r\n",  # there is more to come
        START + b"\r\n",
        START + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        START + b"Content-Length: +5\r\n\r\n",
        START + b"Content-Length: 5, 5\r\n\r\n",
        START + b"Content-Length : 5\r\n\r\n",
        START + b"Host: x\r\n Content-Length: 5\r\n\r\n",  # continues the line before
        START + b"Content-Length: 5\nHost: x\r\n\r\n",
        START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n",
        START + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        START + b"Content-Length: 5\r\nConnection: close\r\n\r\n",
        START + b"Content-Length: 5\r\nConnection: keep-alive, upgrade\r\n\r\n",
        START + b"Content-Length: 5\r\nOrigin: https://example.org\r\n\r\n",
        b"POST /predict HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
        b"GET /predict HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
        b"\r\n" + START + b"Content-Length: 5\r\n\r\n",
    ],
)
def test_anything_else_is_left_to_the_parser(head: bytes) -> None:
    assert plain(head) is None


class Parsed:
    """What the server's own parser makes of a request."""

    def __init__(self, data: bytes) -> None:
        self.url = self.body = b""
        self.complete = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


FIELDS = ["Host: x", "Content-Length: 3", "content-length:3", "Content-Length: 4", "X: a:b", "Connection: keep-alive", "Connection: close"]
FIELDS += [
    "Transfer-Encoding: chunked",
    "Accept:",
    "X\t: y",
    " folded",
    "X: \x80",
    "X: \0",
    "\r",
    "Content-Length: 3\n",
    "Expect: 100-continue",
    "",
]


@given(
    st.lists(st.sampled_from(FIELDS), max_size=5),
    st.sampled_from(["/predict", "/a?b=c", "/a?b?c", "/a?", "/a?b#c", "/a#b?c", "/a b", "*", "/\n"]),
)
def test_what_is_plain_is_the_same_request_to_the_parser(fields: list[str], target: str) -> None:
    """Or a body could pass for a request, or a request for a body."""
    head = "\r\n".join([f"POST {target} HTTP/1.1", *fields, "", ""]).encode("latin-1")
    request = plain(head + b"abcd")
    if request is not None:
        parsed = Parsed((head + b"abcd")[: request.end])
        path, _, query = parsed.url.partition(b"?")
        assert (path, query, len(parsed.body), parsed.complete) == (request.path, request.query, request.body, 1)
        assert parsed.parser.should_keep_alive()


def test_a_refusal_says_when_to_ask_again() -> None:
    top, _, body = refused("The queue is full", 7, close=True).partition(b"\r\n\r\n")
    status, *lines = top.decode().lower().split("\r\n")
    assert status == "http/1.1 503 service unavailable"
    assert {"retry-after: 7", "connection: close", f"content-length: {len(body)}"} <= set(lines)
    assert body == b'{"error":"The queue is full; ask again in 7 s."}'
