from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from huggingface_hub import InferenceClient

from serving import Artifacts, Server
from wire import head, read_answer, send_for_ever

Picture = Callable[..., bytes]


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [entry["label"] for entry in answer.json()]


@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_raw_bytes(served: Server, picture: Picture, colour: str) -> None:
    answer = served.http.post("/predict", content=picture(colour))
    assert names(answer)[0] == colour
    scores = [entry["score"] for entry in answer.json()]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)


@pytest.mark.parametrize("kind", [None, "image/png", "application/octet-stream", "text/plain", "application/x-www-form-urlencoded"])
def test_any_content_type_is_a_raw_body(served: Server, picture: Picture, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    assert names(served.http.post("/predict", content=picture("green"), headers=headers))[0] == "green"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_formats(served: Server, picture: Picture, kind: str) -> None:
    assert names(served.http.post("/predict", content=picture("blue", kind=kind)))[0] == "blue"


def test_the_answer_says_which_version_and_how_long(served: Server, picture: Picture) -> None:
    answer = served.http.post("/predict", content=picture())
    assert answer.headers["x-model-version"] == "7"
    stages = [part.split(";dur=") for part in answer.headers["server-timing"].split(", ")]
    assert [name for name, _ in stages] == ["queue", "decode", "resize", "inference", "post"]
    assert all(float(milliseconds) >= 0 for _, milliseconds in stages)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


def test_top_k(served: Server, picture: Picture) -> None:
    assert names(served.http.post("/predict?top_k=1", content=picture("blue"))) == ["blue"]
    assert len(names(served.http.post("/predict", params={"top_k": 3}, content=picture("blue")))) == 3


def test_a_form(served: Server, picture: Picture) -> None:
    answer = served.http.post("/predict", files={"image": ("a.png", picture("green"), "image/png")})
    assert names(answer)[0] == "green"
    answer = served.http.post("/predict", files={"image": picture("green")}, data={"top_k": "2"})
    assert len(names(answer)) == 2
    answer = served.http.post("/predict?top_k=1", files={"image": picture("green")}, data={"top_k": "2"})
    assert len(names(answer)) == 1


def test_hugging_face_json(served: Server, picture: Picture) -> None:
    call = {"inputs": base64.b64encode(picture("blue")).decode(), "parameters": {"top_k": 2}}
    assert names(served.http.post("/predict", json=call)) == ["blue", "red"]
    del call["parameters"]
    assert names(served.http.post("/predict", json=call))[0] == "blue"


def test_hugging_faces_own_client(served: Server, picture: Picture) -> None:
    client = InferenceClient(model=f"{served.url}/predict")
    assert client.image_classification(picture("green"))[0].label == "green"
    assert [entry.label for entry in client.image_classification(picture("green"), top_k=1)] == ["green"]


def test_chunks_of_unknown_length(served: Server, picture: Picture) -> None:
    data = picture("green")
    assert names(served.http.post("/predict", content=iter([data[:10], data[10:50], data[50:]])))[0] == "green"


def test_a_body_that_comes_byte_by_byte(served: Server, picture: Picture, connect: Callable[..., socket.socket]) -> None:
    data = picture("green")
    connection = connect(served.address, head(len(data)))
    for i in range(len(data)):
        connection.sendall(data[i : i + 1])
    status, _, answer = read_answer(connection)
    assert (status, answer[0]["label"]) == (200, "green")


def test_a_connection_is_used_again(served: Server, picture: Picture, connect: Callable[..., socket.socket]) -> None:
    data, connection = picture("green"), connect(served.address)
    for _ in range(3):
        connection.sendall(head(len(data)) + data)
        assert read_answer(connection)[0] == 200


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("top_k=0", "top_k=0"),
        ("top_k=4", "1 to 3"),
        ("top_k=many", "top_k=many"),
        ("top_k=", "top_k="),
        ("threshold=1", "threshold"),
        ("&".join(f"a{i}=1" for i in range(50)), "query string"),
        ("top_k=%ff", "top_k="),
    ],
)
def test_400_for_a_parameter(served: Server, picture: Picture, query: str, says: str) -> None:
    answer = served.http.post(f"/predict?{query}", content=picture())
    assert answer.status_code == 400
    assert says in answer.json()["error"]


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("application/json", b"{", "inputs"),
        ("application/json", b'{"inputs": "not base64!"}', "inputs"),
        ("application/json", b'{"image": ""}', "inputs"),
        ("application/json", b'{"inputs": "", "parameters": {"top_k": []}}', "parameters"),
        ("multipart/form-data", b"--x--", "boundary"),
        ("multipart/form-data; boundary=x", b"nothing of the kind", "form"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=image\r\n\r\nabc",
            "cut short",
        ),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\na\r\n--x--",
            "'image'",
        ),
    ],
)
def test_400_for_a_body(served: Server, kind: str, body: bytes, says: str) -> None:
    answer = served.http.post("/predict", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"hello", b"<svg/>", b"%PDF-1.7", bytes(1000)])
def test_415_for_what_is_no_image(served: Server, body: bytes) -> None:
    answer = served.http.post("/predict", content=body)
    assert answer.status_code == 415
    assert "JPEG" in answer.json()["error"]


def test_422_for_a_torn_image(served: Server, picture: Picture) -> None:
    answer = served.http.post("/predict", content=picture(size=(200, 200))[:200])
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_413_for_too_many_bytes_by_their_announcement(served: Server, connect: Callable[..., socket.socket]) -> None:
    """The answer comes although nothing of the body has been sent."""
    connection = connect(served.address, head(100_001))
    status, headers, answer = read_answer(connection)
    assert status == 413
    assert "100000 bytes" in answer["error"]
    assert headers["connection"] == "close"


def test_413_is_not_asked_for_the_body(served: Server, connect: Callable[..., socket.socket]) -> None:
    connection = connect(served.address, head(100_001, more="Expect: 100-continue\r\n"))
    assert read_answer(connection)[0] == 413
    assert connection.recv(1) == b""


def test_413_for_too_many_bytes_as_they_come(served: Server, connect: Callable[..., socket.socket]) -> None:
    """A client that sends without end gets its answer, and then the connection ends."""
    connection = connect(served.address, head(None))
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    for _ in range(4):
        connection.sendall(chunk)
    assert read_answer(connection)[0] == 413
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        send_for_ever(connection, chunk)


def test_a_large_upload_sees_its_413(served: Server) -> None:
    answer = httpx.post(f"{served.url}/predict", content=bytes(5_000_000))
    assert answer.status_code == 413


def test_413_for_too_many_pixels(served: Server, picture: Picture) -> None:
    answer = served.http.post("/predict", content=picture(size=(1001, 1000)))
    assert answer.status_code == 413
    assert "pixels" in answer.json()["error"]


@pytest.mark.parametrize("length", ["x", "-1", "1, 1"])
def test_a_length_that_is_none_is_refused(served: Server, connect: Callable[..., socket.socket], length: str) -> None:
    connection = connect(served.address, f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
    assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_408_for_a_slow_sender(serve_model: Callable[..., Any], connect: Callable[..., socket.socket]) -> None:
    server = serve_model(body_timeout=0.3)
    connection = connect(server.address, head(1000) + b"a few")
    status, headers, answer = read_answer(connection)
    assert status == 408
    assert "0.3 s" in answer["error"]
    assert "5 bytes" in answer["error"]
    assert headers["connection"] == "close"


def test_503_when_too_much_is_held(serve_model: Callable[..., Any], connect: Callable[..., socket.socket], picture: Picture) -> None:
    """Uploads that are on their way count; what they held is free when they end."""
    server = serve_model(max_upload=1000, max_held=1500)
    first = connect(server.address, head(1000) + bytes(900))
    time.sleep(0.2)
    status, headers, answer = read_answer(connect(server.address, head(1000) + bytes(900)))
    assert (status, headers["retry-after"]) == (503, "1")
    assert "uploads" in answer["error"]
    first.close()
    time.sleep(0.2)
    assert names(server.http.post("/predict", content=picture()))[0] == "red"


def test_503_when_the_queue_is_full(serve_model: Callable[..., Any], picture: Picture) -> None:
    """Some are refused at once with a Retry-After, and all that were accepted are answered."""
    server = serve_model(slow=0.05, max_queue=2)
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: httpx.post(f"{server.url}/predict", content=picture(), timeout=60), range(40)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert int(refused.headers["retry-after"]) >= 1
    assert "queue" in refused.json()["error"]


def test_504_when_the_answer_takes_too_long(serve_model: Callable[..., Any], picture: Picture) -> None:
    """Nobody waits any more, so nothing more is computed: the next request finds the queue empty."""
    server = serve_model(slow=0.8, timeout=0.2)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.post(f"{server.url}/predict", content=picture(), timeout=60), range(8)))
    late = [answer for answer in answers if answer.status_code == 504]
    assert late and {answer.status_code for answer in answers} <= {200, 504}
    assert "0.2 s" in late[0].json()["error"]
    deadline = time.monotonic() + 60
    while server.model.stats()["queue"] or server.model.stats()["in_flight"]:
        assert time.monotonic() < deadline, "what timed out is still computed"
        time.sleep(0.05)


def test_many_clients_get_their_own_answers(served: Server, picture: Picture) -> None:
    pictures = {colour: picture(colour) for colour in ("red", "green", "blue")}

    def ask(i: int) -> bool:
        colour = ("red", "green", "blue")[i % 3]
        with httpx.Client(base_url=served.url, timeout=60) as http:
            return all(names(http.post("/predict", content=pictures[colour]))[0] == colour for _ in range(10))

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(ask, range(12)))


def test_nothing_is_computed_for_a_client_that_has_gone(
    serve_model: Callable[..., Any], connect: Callable[..., socket.socket], picture: Picture
) -> None:
    """Thirty clients ask and hang up: the one after them doesn't wait for thirty answers."""
    server = serve_model(slow=0.3)  # thirty take far longer than it is until a client is watched for having gone
    data = picture()
    server.http.post("/predict", content=data)
    connections = [connect(server.address, head(len(data)) + data) for _ in range(30)]
    while server.model.stats()["queue"] + server.model.stats()["in_flight"] < 30:
        time.sleep(0.01)
    for connection in connections:
        connection.close()
    assert server.http.post("/predict", content=data).status_code == 200
    page = server.http.get("/metrics").text
    answered = next(line for line in page.splitlines() if line.startswith("exportweb_batch_size_count"))
    assert float(answered.split()[1]) < 20


def test_a_swap_under_load_fails_nothing_and_never_goes_back(
    serve: Callable[..., Server], artifacts: Artifacts, picture: Picture, tmp_path: Any
) -> None:
    from exportweb import Store

    store = Store(tmp_path / "store")
    artifacts.publish(store)
    server = serve(store.folder)
    server.wait_for_version(1)
    stop, failures, ready = threading.Event(), [], []

    def ask(colour: str) -> None:
        seen, data = 0, picture(colour)
        with httpx.Client(base_url=server.url, timeout=60) as http:
            while not stop.is_set():
                answer = http.post("/predict", content=data)
                version = int(answer.headers.get("x-model-version", 0))
                if answer.status_code != 200 or answer.json()[0]["label"] != colour or version < seen:
                    failures.append((answer.status_code, answer.text, version, seen))
                seen = max(seen, version)

    def watch() -> None:
        with httpx.Client(base_url=server.url) as http:
            while not stop.is_set():
                ready.append(http.get("/readyz").status_code)

    threads = [threading.Thread(target=ask, args=(colour,)) for colour in ("red", "green", "blue", "red")]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    try:
        for epoch in range(2, 7):
            version = artifacts.publish(store, epoch=epoch, scale=10.0 + epoch, damage=epoch == 4)
            if epoch == 4:
                server.wait(lambda: "version 4 is rejected" in server.log)
            else:
                server.wait_for_version(version)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert set(ready) == {200}
    states = {entry["version"]: entry["state"] for entry in server.http.get("/versions").json()["versions"]}
    assert states == {1: "retired", 2: "retired", 3: "retired", 4: "rejected", 5: "retired", 6: "serving"}
