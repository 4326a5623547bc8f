"""Versions are swapped in under load, and no request is lost."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
import urllib.request

from PIL import Image

from exportweb.runtime import Predictor

CLIENTS, SWAPS = 8, 8


def picture() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((40, 30), 80).convert("RGB").save(file, "PNG")
    return file.getvalue()


class Client(threading.Thread):
    """Asks the same thing until told to stop, and writes down every answer."""

    def __init__(self, url: str, body: bytes, stop: threading.Event) -> None:
        super().__init__()
        self.answers: list[tuple[int, int, list[dict]]] = []  # status, version, answer
        self.failure: Exception | None = None
        self._host, self._body, self._stop_asking = url.removeprefix("http://"), body, stop

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=30)
        try:
            while not self._stop_asking.is_set():
                connection.request("POST", "/predict?top_k=10", self._body)
                response = connection.getresponse()
                self.answers.append((response.status, int(response.headers.get("X-Model-Version", 0)), json.load(response)))
        except Exception as error:
            self.failure = error
        finally:
            connection.close()


def serving(url: str) -> int | None:
    with urllib.request.urlopen(f"{url}/versions", timeout=30) as response:
        return json.load(response)["serving"]


def wait_for(url: str, version: int) -> None:
    deadline = time.monotonic() + 60
    while serving(url) != version:
        assert time.monotonic() < deadline, f"version {version} never served"
        time.sleep(0.02)


def test_no_request_fails_and_every_answer_is_one_versions(live_server):
    body, stop = picture(), threading.Event()
    wait_for(live_server.url, live_server.publish(0.5, epoch=1))
    clients = [Client(live_server.url, body, stop) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for epoch in range(2, SWAPS + 2):
        wait_for(live_server.url, live_server.publish(0.5, epoch=epoch, scale=1 + epoch / 2))
    live_server.reject(epoch=99)
    wait_for(live_server.url, live_server.publish(0.9, epoch=100, scale=0.5))
    stop.set()
    for client in clients:
        client.join(30)

    expected = {n: Predictor.load(path).predict(body, top_k=10) for n, path in live_server.store.versions().items()}
    for client in clients:
        assert client.failure is None
        assert {status for status, _, _ in client.answers} == {200}
        versions = [version for _, version, _ in client.answers]
        assert versions == sorted(versions), "a client saw an older version after a newer one"
        for _, version, answer in client.answers:
            assert [a["label"] for a in answer] == [e["label"] for e in expected[version]]
            assert all(abs(a["score"] - e["score"]) < 1e-5 for a, e in zip(answer, expected[version], strict=True))
    seen = {version for client in clients for _, version, _ in client.answers}
    assert len(seen) >= SWAPS, f"the load met only {sorted(seen)}"
    assert SWAPS + 2 not in seen, "the version with the wrong golden sample answered"
