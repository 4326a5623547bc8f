from __future__ import annotations

import asyncio
import queue
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from exportweb.runtime import Answer
from exportweb.web.connection import REST, Connections
from versions import WAIT, Blockade
from wire import head, read_answer, send_for_ever

GET = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def full(serve_model: Callable[..., Any], picture: Callable[..., bytes]) -> Iterator[Any]:
    """A server whose workers are all busy, and whose queue is full."""
    server, data = serve_model(max_queue=2), picture()
    answers: queue.Queue[Any] = queue.Queue()
    with Blockade(server.model.stats()["workers"], lambda done: server.model.submit(data, {}, done)):
        for _ in range(2):
            server.model.submit(data, {}, answers.put)
        yield server
    assert all(isinstance(answers.get(timeout=WAIT), Answer) for _ in range(2))


def test_a_full_server_refuses_before_it_reads(full: Any, connect: Callable[..., socket.socket]) -> None:
    """The answer is there before the body, which is dropped as it comes; the connection goes on."""
    connection = connect(full.address, head(1_000_000))
    status, headers, answer = read_answer(connection)
    assert status == 503
    assert int(headers["retry-after"]) >= 1
    assert headers["x-content-type-options"] == "nosniff"
    assert "ask again in" in answer["error"]
    connection.sendall(bytes(1_000_000) + GET.replace(b"/openapi.json", b"/metrics"))
    assert b'exportweb_requests_total{model="model",path="/predict",status="503"}' in connection.recv(65536)


def test_a_full_server_does_not_ask_for_the_body(full: Any, connect: Callable[..., socket.socket]) -> None:
    connection = connect(full.address, head(1000, more="Expect: 100-continue\r\n"))
    status, headers, _ = read_answer(connection)
    assert (status, headers["connection"]) == (503, "close")
    assert connection.recv(1) == b""


@pytest.mark.parametrize("sizes", [[0, 0, 0], [10, 1_000_000, 0, 70_000]])
def test_a_full_server_that_has_refused_goes_on_to_refuse(full: Any, connect: Callable[..., socket.socket], sizes: list[int]) -> None:
    """One request after the other, and then all in one piece, with another behind them that isn't refused."""
    connection = connect(full.address)
    for size in sizes:
        connection.sendall(head(size))
        assert read_answer(connection)[0] == 503
        connection.sendall(bytes(size))
    connection.sendall(b"".join(head(size) + bytes(size) for size in sizes) + GET)
    seen = b""
    while not seen.endswith(b"}}}"):
        piece = connection.recv(65536)
        assert piece
        seen += piece
    assert seen.count(b"HTTP/1.1 503 ") == len(sizes) and seen.count(b"HTTP/1.1 200 ") == 1
    asked = httpx.get(f"{full.url}/metrics", timeout=30).text
    assert f'exportweb_requests_total{{model="model",path="/predict",status="503"}} {2 * len(sizes)}' in asked


def test_a_full_server_refuses_what_comes_in_pieces(full: Any, connect: Callable[..., socket.socket]) -> None:
    connection = connect(full.address)
    for piece in (head(4)[:9], head(4)[9:], b"ab"):
        connection.sendall(piece)
        time.sleep(0.05)
    assert read_answer(connection)[0] == 503
    for piece in (b"cd" + head(4)[:30], head(4)[30:] + b"ab", b"cd"):
        connection.sendall(piece)
        time.sleep(0.05)
    assert read_answer(connection)[0] == 503
    connection.sendall(GET)
    assert read_answer(connection)[0] == 200


def test_a_server_is_as_before_once_the_crowd_has_gone(
    serve_model: Callable[..., Any], picture: Callable[..., bytes], connect: Callable[..., socket.socket]
) -> None:
    server, data = serve_model(max_queue=1), picture()
    answers: queue.Queue[Any] = queue.Queue()
    connection = connect(server.address)
    with Blockade(server.model.stats()["workers"], lambda done: server.model.submit(data, {}, done)):
        server.model.submit(data, {}, answers.put)
        for _ in range(3):
            connection.sendall(head(len(data)) + data)
            assert read_answer(connection)[0] == 503
    assert isinstance(answers.get(timeout=WAIT), Answer)
    for _ in range(3):
        connection.sendall(head(len(data)) + data)
        assert read_answer(connection)[0] == 200


@pytest.mark.parametrize("full", [False, True])
def test_a_server_that_only_refuses_looks_at_requests_now_and_then(monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    """However many requests come together, it rests once after them."""
    rested: list[float] = []

    async def crowds() -> None:
        shared = Connections(limit=1, refusal=lambda *_: 1, full=lambda: full)
        for crowd in (100, 3):
            for _ in range(crowd):
                shared.rest()
            await asyncio.sleep(0)
            assert shared.crowded == full

    monkeypatch.setattr(time, "sleep", rested.append)
    asyncio.run(crowds())
    assert rested == [REST] * 2 * full


def test_a_server_doesnt_rest_while_connections_come(monkeypatch: pytest.MonkeyPatch) -> None:
    rested: list[float] = []
    newcomer: Any = object()

    async def crowd() -> None:
        shared = Connections(limit=1, refusal=lambda *_: 1, full=lambda: True)
        for _ in range(3):
            shared.add(newcomer)
            shared.rest()
            await asyncio.sleep(0)
            assert not rested
        shared.rest()
        await asyncio.sleep(0)

    monkeypatch.setattr(time, "sleep", rested.append)
    asyncio.run(crowd())
    assert rested == [REST]


def test_a_full_server_answers_everything_else(full: Any) -> None:
    assert httpx.get(f"{full.url}/healthz", timeout=30).status_code == 200


@pytest.mark.parametrize("more", ["Origin: https://example.org\r\n", "Connection: close\r\n"])
def test_pages_and_clients_that_ask_once_see_a_refusal_too(full: Any, connect: Callable[..., socket.socket], more: str) -> None:
    status, headers, answer = read_answer(connect(full.address, head(1000, more=more) + bytes(1000)))
    assert (status, "retry-after" in headers) == (503, True)
    assert "queue is full" in answer["error"]


def test_a_new_connection_takes_the_place_of_the_one_that_idles_longest(
    serve_run: Callable[..., Any], connect: Callable[..., socket.socket]
) -> None:
    """Also of one that sends a head without end: neither keeps anybody out."""
    run = serve_run(max_connections=3)
    first, second, third = (connect(run.address, GET) for _ in range(3))
    for connection in (first, second, third):
        assert read_answer(connection)[0] == 200
    second.sendall(GET)
    assert read_answer(second)[0] == 200
    third.sendall(GET[:20])
    assert read_answer(connect(run.address, GET))[0] == 200
    assert first.recv(1) == b""
    assert read_answer(connect(run.address, GET))[0] == 200
    assert third.recv(1) == b""
    second.sendall(GET)
    assert read_answer(second)[0] == 200


def test_a_new_connection_is_refused_where_all_others_wait_for_their_answers(
    serve_run: Callable[..., Any], connect: Callable[..., socket.socket], picture: Callable[..., bytes]
) -> None:
    run, data = serve_run(slow=0.5, max_connections=1), picture()
    first = connect(run.address, head(len(data)) + data)
    time.sleep(0.1)
    status, headers, _ = read_answer(connect(run.address))
    assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
    assert read_answer(first)[0] == 200


def test_a_client_that_takes_nothing_of_its_answers_is_cut_off(serve_run: Callable[..., Any]) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that it is soon full
        connection.connect(serve_run().address)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_for_ever(connection, GET)


@pytest.mark.parametrize("data", [b"", b"POST /predict HT", b"GET / HTTP/1.1\r\nHost: x\r\nA: "], ids=["silent", "line", "header"])
def test_a_head_that_does_not_come_is_not_waited_for(
    serve_run: Callable[..., Any], connect: Callable[..., socket.socket], data: bytes
) -> None:
    assert connect(serve_run().address, data).recv(1) == b""


def test_a_head_without_end_is_not_read(serve_run: Callable[..., Any], connect: Callable[..., socket.socket]) -> None:
    connection = connect(serve_run().address, b"GET / HTTP/1.1\r\nHost: x\r\n")
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        send_headers(connection)


def send_headers(connection: socket.socket) -> None:
    for i in range(1000):
        connection.sendall(b"X-%d: " % i + b"a" * 8000 + b"\r\n")
        time.sleep(0.001)


def test_what_is_left_of_a_body_that_was_answered_has_a_deadline(
    serve_run: Callable[..., Any], connect: Callable[..., socket.socket]
) -> None:
    """A client that is told 404 and goes on sending, a byte now and then, is cut off."""
    connection = connect(serve_run().address, b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 404")
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        trickle(connection)


def trickle(connection: socket.socket) -> None:
    for _ in range(900):
        connection.sendall(b"x")
        time.sleep(0.05)


def test_a_slow_but_steady_client_is_served(serve_run: Callable[..., Any], connect: Callable[..., socket.socket]) -> None:
    """Several requests on one connection, each within the deadline, all of them together far beyond it."""
    connection = connect(serve_run().address)
    for _ in range(6):
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        time.sleep(0.1)
        connection.sendall(b"Host: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):
            piece = connection.recv(65536)
            assert piece, f"closed after {answer!r}"
            answer += piece
