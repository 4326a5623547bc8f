"""The lives of fronts, and of connections that change hands."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from exportweb import Store
from fronted import Fronted
from serving import Artifacts, Server
from wire import head, read_answer

Picture = Callable[..., bytes]


@pytest.fixture
def serve(tmp_path: Path, artifacts: Artifacts, picture: Picture) -> Iterator[Callable[..., Fronted]]:
    """Serve models of these names by fronts."""
    servers: list[Fronted] = []

    def start(*names: str, slow: float = 0, **options: Any) -> Fronted:
        paths = {name: artifacts.write(tmp_path / f"{name}.onnx", slow=slow) for name in names or ("colours",)}
        servers.append(Fronted(paths, **options))
        return servers[-1].begin(picture())

    yield start
    for server in servers:
        server.close()


class Crowd:
    """Clients that ask over and over; `seen` counts what came of it."""

    def __init__(self, url: str, image: bytes, *, count: int = 8, path: str = "/predict") -> None:
        self.seen: Counter[str] = Counter()
        self._stop = threading.Event()
        self._url, self._image = f"{url}{path}", image
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(timeout=60) as http:
            while not self._stop.is_set():
                try:
                    answer = http.post(self._url, content=self._image)
                    self.seen[f"{answer.status_code}"] += 1
                    if answer.status_code == 200:
                        self.seen[answer.json()[0]["label"]] += 1
                except httpx.TransportError as error:
                    self.seen[type(error).__name__] += 1

    def end(self) -> Counter[str]:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.seen


def test_a_crowd_calls_for_them(tmp_path: Path, artifacts: Artifacts, picture: Picture) -> None:
    with Server(artifacts.write(tmp_path / "colours.onnx"), "--fronts", "2", log=tmp_path / "log") as server:
        assert server.http.post("/predict", content=picture()).status_code == 200
        time.sleep(0.5)
        assert server.http.get("/model").json()["runtime"]["fronts"] == 0, "nobody has missed them"
        crowd = Crowd(server.url, picture("green"))
        server.wait(lambda: server.http.get("/model").json()["runtime"]["fronts"] == 2)
        time.sleep(0.5)
        seen = crowd.end()
        assert "exportweb: 2 processes take requests from now on." in server.log
    assert set(seen) == {"200", "green"}


def test_one_that_is_killed_takes_its_connections_along_and_is_replaced(serve: Callable[..., Fronted], picture: Picture) -> None:
    server = serve()
    crowd = Crowd(server.url, picture("blue"), count=6)
    time.sleep(0.3)
    (first, second), before = server.processes(), crowd.seen["200"]
    os.kill(first, signal.SIGKILL)
    server.wait(lambda: first not in server.processes() and len(server.processes()) == 2)
    server.wait(lambda: server.http.get("/model").json()["runtime"]["fronts"] == 2)
    time.sleep(0.3)
    assert second in server.processes()
    seen = crowd.end()
    assert seen["200"] > before + 50
    assert set(seen) <= {"200", "blue", "ReadError", "RemoteProtocolError", "WriteError"}
    assert sum(seen[error] for error in set(seen) - {"200", "blue"}) <= 6, "each client meets it once"


def test_when_all_are_killed_as_many_take_their_place(serve: Callable[..., Fronted], picture: Picture) -> None:
    server = serve()
    crowd = Crowd(server.url, picture("blue"), count=6)
    for process in (before := server.processes()):
        os.kill(process, signal.SIGKILL)
    server.wait(lambda: len(server.processes()) == 2 and not {*server.processes()} & {*before})
    server.wait(lambda: server.http.get("/model").json()["runtime"]["fronts"] == 2)
    time.sleep(1.5)
    assert crowd.end()["200"] > 50
    assert len(server.processes()) == 2


def test_those_that_can_not_be_started_are_not_missed(tmp_path: Path, artifacts: Artifacts, picture: Picture) -> None:
    path = artifacts.write(tmp_path / "colours.onnx")
    server = Fronted({"colours": path}, patches={"spawn": {"_START": "raise SystemExit(1)"}})
    end = time.monotonic() + 5
    while time.monotonic() < end:
        assert server.http.post("/predict", content=picture("blue")).json()[0]["label"] == "blue"
    assert server.http.get("/model").json()["runtime"]["fronts"] == 0
    code, log = server.close()
    assert code == 0
    assert log.count("another takes its place") <= 3
    assert "Processes that take requests end as soon as they are started, so threads do all." in log


def test_versions_swap_under_a_crowd(tmp_path: Path, artifacts: Artifacts, picture: Picture) -> None:
    store = Store(tmp_path / "store")
    artifacts.publish(store)
    server = Fronted({"colours": store.folder}).begin(picture())
    crowd = Crowd(server.url, picture("green"))
    for _ in range(8):
        number = artifacts.publish(store)
        server.wait(lambda number=number: server.http.get("/versions").json()["serving"] == number)
    seen = crowd.end()
    server.close()
    assert set(seen) == {"200", "green"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_loses_no_request(serve: Callable[..., Fronted], picture: Picture, number: int) -> None:
    """Whichever processes the signal reaches, as from a terminal or a service manager."""
    server = serve(slow=0.5)
    processes = server.processes()
    idle = server.connect(head(len(picture())) + picture())
    assert read_answer(idle)[0] == 200
    connections = [server.connect(head(len(picture())) + picture()) for _ in range(6)]
    time.sleep(0.1)
    for process in processes:
        os.kill(process, number)
    server.http.close()
    os.kill(server.process.pid, number)
    answers = [read_answer(connection) for connection in connections]
    assert [status for status, _, _ in answers] == [200] * 6
    assert answers[-1][1]["connection"] == "close"
    assert idle.recv(1) == b""
    code, log = server.close()
    assert code == 0
    assert "Traceback" not in log, log
    assert not any(psutil.pid_exists(process) for process in processes)


def test_what_is_not_answered_in_time_is_refused_at_a_stop(serve: Callable[..., Fronted], picture: Picture) -> None:
    server = serve(slow=1, grace=0.2)
    connections = [server.connect(head(len(picture())) + picture()) for _ in range(8)]
    time.sleep(0.3)
    code, _ = server.close()
    assert code == 0
    statuses = Counter(read_answer(connection)[0] for connection in connections)
    assert statuses[503] > 0
    assert set(statuses) <= {200, 503}


def test_they_end_with_a_server_that_is_killed(serve: Callable[..., Fronted]) -> None:
    server = serve()
    processes = server.processes()
    server.close(signal.SIGKILL)
    end = time.monotonic() + 10
    while any(psutil.pid_exists(process) for process in processes):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_idle_connections_make_room_for_new_ones(serve: Callable[..., Fronted], picture: Picture) -> None:
    server = serve(max_connections=5)
    server.http.close()
    request = head(len(picture())) + picture()
    held: list[socket.socket] = []
    for _ in range(12):
        connection = server.connect(request)
        assert read_answer(connection)[0] == 200
        held.append(connection)
        time.sleep(0.05)
    closed = sum(_ended(connection) for connection in held)
    assert closed >= 6


def _ended(connection: socket.socket) -> bool:
    connection.settimeout(0.5)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


def test_models_share_them(serve: Callable[..., Fronted], picture: Picture) -> None:
    """A flood on one doesn't keep the other waiting."""
    server = serve("busy", "calm")
    floods = Crowd(server.url, picture("red", size=(1500, 1500)), path="/models/busy/predict", count=12)
    time.sleep(0.5)
    for _ in range(10):
        answer = server.http.post("/models/calm/predict", content=picture("blue"))
        assert answer.json()[0]["label"] == "blue"
    assert set(floods.end()) == {"200", "red"}
    assert server.counted(200, "calm") == 10
