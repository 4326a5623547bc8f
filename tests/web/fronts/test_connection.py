"""HTTP as fronts speak it: the same as the server does, whoever answers."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fronted import Fronted
from serving import Artifacts
from wire import head, read_answer

Picture = Callable[..., bytes]


@pytest.fixture(scope="module")
def image() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 48), (0, 255, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, artifacts: Artifacts, image: bytes) -> Iterator[tuple[Fronted, Fronted]]:
    """One with fronts and one without."""
    path = artifacts.write(tmp_path_factory.mktemp("fronted") / "colours.onnx", version=7)
    options: dict[str, Any] = {"max_upload": 100_000, "model": {"max_pixels": 10_000}}
    both = [Fronted({"colours": path}, fronts=count, **options) for count in (2, 0)]
    yield both[0].begin(image), both[1]
    for server in both:
        code, log = server.close()
        assert code == 0
        assert "Traceback" not in log, log


@pytest.fixture
def fronted(servers: tuple[Fronted, Fronted]) -> Fronted:
    return servers[0]


def form(**fields: Any) -> dict[str, Any]:
    return {"files": {name: value if isinstance(value, tuple) else (None, value) for name, value in fields.items()}}


def requests(image: bytes, picture: Picture) -> dict[str, dict[str, Any]]:
    """All kinds of requests, good and bad."""
    encoded = base64.b64encode(image).decode()
    return {
        "image": {"content": image},
        "parameter": {"content": image, "params": {"top_k": "2"}},
        "form": form(image=("x.png", image, "image/png"), top_k="1"),
        "json": {"json": {"inputs": encoded, "parameters": {"top_k": 1}}},
        "version": {"content": image, "params": {"version": "7"}},
        "version that isn't there": {"content": image, "params": {"version": "8"}},
        "version that is no number": {"content": image, "params": {"version": "last"}},
        "unknown parameter": {"content": image, "params": {"top": "2"}},
        "wrong parameter": {"content": image, "params": {"top_k": "many"}},
        "query that can't be read": {"content": image, "params": "&".join(f"a{i}=1" for i in range(30))},
        "no image": {"content": b"hello"},
        "nothing": {"content": b""},
        "torn image": {"content": picture("red", size=(99, 99))[:60]},
        "too many pixels": {"content": picture("red", size=(200, 200))},
        "too many bytes": {"content": bytes(100_001)},
        "form without an image": form(other="1"),
        "form that is none": {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        "json that is none": {"content": b"{", "headers": {"content-type": "application/json"}},
    }


def test_answers_are_those_that_the_server_gives(servers: tuple[Fronted, Fronted], image: bytes, picture: Picture) -> None:
    statuses = {}
    for name, request in requests(image, picture).items():
        answers = [server.http.post("/predict", **request) for server in servers]
        for answer in answers:
            for header in ("date", "server-timing", "connection"):
                answer.headers.pop(header, None)
        assert answers[0].status_code == answers[1].status_code, name
        assert answers[0].content == answers[1].content, name
        assert dict(answers[0].headers) == dict(answers[1].headers), name
        statuses[name] = answers[0].status_code
    assert set(statuses.values()) == {200, 400, 404, 413, 415, 422}
    for status in set(statuses.values()):
        servers[0].wait(lambda status=status: servers[0].counted(status) == servers[1].counted(status) + (status == 200))


def test_stages_are_timed(fronted: Fronted, image: bytes) -> None:
    answer = fronted.http.post("/predict", content=image)
    stages = [stage.partition(";")[0] for stage in answer.headers["server-timing"].split(", ")]
    assert stages == ["queue", "decode", "resize", "inference", "post"]


def test_anything_may_be_asked_on_one_connection(fronted: Fronted, image: bytes) -> None:
    """Which goes to a front and back each time."""
    with httpx.Client(base_url=fronted.url, timeout=30, limits=httpx.Limits(max_connections=1)) as http:
        for _ in range(3):
            assert http.post("/predict", content=image).json()[0]["label"] == "green"
            assert http.get("/model").json()["version"] == 7
            assert http.post("/predict", content=image, headers={"origin": "https://example.org"}).status_code == 200
            assert http.get("/nowhere").status_code == 404
            assert http.get("/predict").status_code == 405


def test_requests_may_come_without_waiting_for_answers(fronted: Fronted, image: bytes, connect: Callable[..., socket.socket]) -> None:
    good, bad = head(len(image)) + image, head(2) + b"no"
    connection = connect(fronted.address, good + good + bad + b"GET /model HTTP/1.1\r\nHost: x\r\n\r\n" + good)
    assert [read_answer_of(connection)[0] for _ in range(5)] == [200, 200, 415, 200, 200]


BUFFERS: dict[socket.socket, bytes] = {}


def read_answer_of(connection: socket.socket) -> tuple[int, bytes]:
    """Read one answer of several that may have come together."""
    data = BUFFERS.pop(connection, b"")
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    top, _, body = data.partition(b"\r\n\r\n")
    length = int(top.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    BUFFERS[connection] = body[length:]
    return int(top.split()[1]), body[:length]


def test_a_request_may_come_in_pieces(fronted: Fronted, image: bytes, connect: Callable[..., socket.socket]) -> None:
    request = head(len(image)) + image
    for cuts in ((10,), (len(request) - len(image),), (len(request) - 5,), (3, 40, len(request) - 1)):
        connection = connect(fronted.address)
        for _ in range(2):
            start = 0
            for cut in (*cuts, len(request)):
                connection.sendall(request[start:cut])
                start = cut
                time.sleep(0.02)
            assert read_answer(connection)[0] == 200


def test_a_body_that_takes_long_is_waited_for_by_the_server(fronted: Fronted, image: bytes, connect: Callable[..., socket.socket]) -> None:
    connection = connect(fronted.address, head(len(image)) + image[:-1])
    time.sleep(1.6)
    connection.sendall(image[-1:])
    assert read_answer(connection)[0] == 200


@pytest.mark.parametrize(
    ("request_head", "body"),
    [
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked"),
        (b"POST /predict HTTP/1.0\r\nHost: x\r\nContent-Length: %d\r\n\r\n", "whole"),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", "whole"),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", "later"),
    ],
)
def test_what_is_not_plain_is_for_the_server(
    fronted: Fronted, image: bytes, connect: Callable[..., socket.socket], request_head: bytes, body: str
) -> None:
    connection = connect(fronted.address, head(len(image)) + image)
    assert read_answer(connection)[0] == 200
    connection.sendall(request_head % len(image) if b"%d" in request_head else request_head)
    if body == "later":
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
    connection.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(image), image) if body == "chunked" else image)
    assert read_answer(connection)[0] == 200


def test_who_takes_no_answers_gets_no_more(fronted: Fronted, image: bytes) -> None:
    """Or what it has asked would fill the memory with them."""
    count = 12_000
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(fronted.address)
    sender = threading.Thread(target=connection.sendall, args=((head(len(image)) + image) * count,))
    before, seen = fronted.counted(200), -1.0
    sender.start()
    while seen != (seen := fronted.counted(200)):  # until it waits for the client
        time.sleep(0.5)
    assert seen - before < count
    start, answers, rest = b"HTTP/1.1 200 OK", 0, b""
    while answers < count:
        piece = connection.recv(1 << 20)
        assert piece, f"closed after {answers} answers"
        answers += (rest + piece).count(start)
        rest = (rest + piece)[1 - len(start) :]
    sender.join()
    connection.close()


def test_nothing_is_answered_for_who_has_gone(fronted: Fronted, image: bytes, connect: Callable[..., socket.socket]) -> None:
    before = fronted.counted(200)
    for sent in (head(len(image)) + image, head(len(image)) + image[:10], head(len(image))[:30]):
        connect(fronted.address, sent).close()
    assert fronted.http.post("/predict", content=image).status_code == 200
    fronted.wait(lambda: fronted.counted(200) + fronted.counted(499) >= before + 1)
    assert fronted.http.get("/healthz").status_code == 200
