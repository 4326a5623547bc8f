"""HTTP as it goes over the wire, for tests that send what no client library would."""

from __future__ import annotations

import json
import socket
import time
from typing import Any


def head(length: int | None, *, path: str = "/predict", more: str = "") -> bytes:
    """Return the head of a request with a body of this length, None for chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{size}\r\n{more}\r\n".encode()


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Read one answer with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    top, _, body = data.partition(b"\r\n\r\n")
    status, *lines = top.decode().split("\r\n")
    headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(status.split()[1]), headers, json.loads(body)


def send_for_ever(connection: socket.socket, data: bytes) -> None:
    """Send until the other side has had enough."""
    while True:
        connection.sendall(data)
        time.sleep(0.001)
