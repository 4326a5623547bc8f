"""What a front does with images, and when it gives up."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from exportweb import Store
from fronted import Fronted
from serving import SIDE, Artifacts
from wire import head, read_answer

Picture = Callable[..., bytes]


@pytest.fixture
def serve(tmp_path: Path, artifacts: Artifacts, picture: Picture) -> Iterator[Callable[..., Fronted]]:
    """Serve a model by fronts; `slow` is that of `Artifacts`."""
    servers: list[Fronted] = []

    def start(*, slow: float = 0, **options: Any) -> Fronted:
        servers.append(Fronted({"colours": artifacts.write(tmp_path / "colours.onnx", slow=slow)}, **options))
        return servers[-1].begin(picture())

    yield start
    for server in servers:
        server.close()


def test_a_large_image_does_not_keep_others_waiting(serve: Callable[..., Fronted], picture: Picture, noise: bytes) -> None:
    server = serve(fronts=2)
    done: dict[str, float] = {}

    def ask(name: str, image: bytes) -> None:
        assert httpx.post(f"{server.url}/predict", content=image, timeout=60).status_code == 200
        done[name] = time.monotonic()

    large = [threading.Thread(target=ask, args=(f"large {i}", noise)) for i in range(4)]
    for thread in large:
        thread.start()
    time.sleep(0.1)
    ask("small", picture())
    for thread in large:
        thread.join()
    assert done["small"] < max(done.values())


@pytest.fixture(scope="module")
def noise() -> bytes:
    """A photograph of 12 megapixels that takes long."""
    import io

    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def test_what_does_not_fit_into_the_memory_is_prepared_by_the_server(serve: Callable[..., Fronted], picture: Picture) -> None:
    server = serve(patches={"spawn": {"MEMORY": SIDE * SIDE * 3 - 1}})
    for colour in ("red", "green", "blue"):
        answer = server.http.post("/predict", content=picture(colour))
        assert answer.json()[0]["label"] == colour
    assert server.counted(200) == 4


def test_images_wait_for_room_in_the_memory(serve: Callable[..., Fronted], picture: Picture) -> None:
    """There is room for one."""
    server = serve(patches={"spawn": {"MEMORY": SIDE * SIDE * 3}}, slow=0.005)
    colours = ["red", "green", "blue"] * 8
    with ThreadPoolExecutor(12) as pool:
        answers = pool.map(lambda colour: httpx.post(f"{server.url}/predict", content=picture(colour), timeout=60).json(), colours)
        assert [answer[0]["label"] for answer in answers] == colours


def test_an_answer_that_takes_too_long_is_not_waited_for(serve: Callable[..., Fronted], picture: Picture) -> None:
    server = serve(slow=0.5, timeout=0.1, fronts=2)
    before = server.counted(504)
    answer = server.http.post("/predict", content=picture())
    assert answer.status_code == 504
    assert answer.json() == {"error": "There was no answer within 0.1 s; the server is too busy. Ask again later."}
    server.wait(lambda: server.counted(504) == before + 1)


def test_a_crowd_is_refused_and_told_when_to_come_again(serve: Callable[..., Fronted], picture: Picture) -> None:
    server = serve(slow=0.1, fronts=2, model={"max_queue": 4})
    refused = server.counted(503)

    def ask(_: int) -> httpx.Response:
        return httpx.post(f"{server.url}/predict", content=picture(), timeout=60)

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(72)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 503)
    server.wait(lambda: server.counted(503) == refused + statuses[503])
    assert ask(0).status_code == 200, "there is room again"


def test_bodies_that_are_held_are_bounded(serve: Callable[..., Fronted], picture: Picture) -> None:
    """As soon as they are announced, however slowly they come."""
    server = serve(fronts=1, max_upload=100_000, patches={"server": {"MAX_HELD": 150_000}})
    first, second = server.connect(), server.connect()
    first.sendall(head(90_000) + bytes(50_000))
    time.sleep(0.1)
    second.sendall(head(90_000) + bytes(1000))
    assert read_answer(second)[0] == 503
    first.sendall(bytes(40_000))
    assert read_answer(first)[0] == 415
    second.sendall(bytes(89_000) + head(len(picture())) + picture())
    assert read_answer(second)[0] == 200


def test_the_body_of_who_was_refused_is_dropped_as_it_comes(serve: Callable[..., Fronted], picture: Picture) -> None:
    server = serve(slow=0.5, fronts=1, model={"max_queue": 1})
    busy = []
    for _ in range((os.cpu_count() or 1) + 2):  # until each thread has one and one waits
        busy.append(server.connect(head(len(picture())) + picture()))
        time.sleep(0.1)
    refused = server.connect(head(50_000))
    assert read_answer(refused)[0] == 503
    refused.sendall(bytes(30_000))
    assert 200 in {read_answer(connection)[0] for connection in busy}
    refused.sendall(bytes(20_000))
    for _ in range(100):
        refused.sendall(head(len(picture())) + picture())
        status = read_answer(refused)[0]
        if status == 200:
            return
        time.sleep(0.1)
    pytest.fail("it isn't welcome again")


def test_who_hangs_up_is_counted_and_not_computed_for(serve: Callable[..., Fronted], picture: Picture) -> None:
    server = serve(slow=0.2, fronts=2)
    left = server.counted(499)
    for _ in range(5):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/predict", content=picture(), timeout=0.05)
    server.wait(lambda: server.counted(499) == left + 5)
    assert server.http.post("/predict", content=picture()).status_code == 200


def test_a_version_whose_images_are_prepared_otherwise(tmp_path: Path, artifacts: Artifacts, picture: Picture) -> None:
    """What was prepared for the one before is prepared again; a version that is asked for by its number, too."""
    store = Store(tmp_path / "store")
    artifacts.publish(store)
    server = Fronted({"colours": store.folder}, model={"keep_loaded": 2}).begin(picture())
    stop, seen, failed = threading.Event(), Counter[str](), []

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            last = 0
            while not stop.is_set():
                answer = http.post("/predict", content=sides)
                version = int(answer.headers.get("x-model-version", 0))
                if answer.status_code != 200 or version < last:
                    failed.append((answer.status_code, version, last))
                last = version
                seen[f"{version} {answer.json()[0]['label']}"] += 1

    sides = two_colours()
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    artifacts.publish(store, resize="exact")
    server.wait(lambda: server.http.get("/versions").json()["serving"] == 2)
    time.sleep(0.5)
    asked = [server.http.post("/predict", params={"version": number}, content=sides).json()[0]["label"] for number in (1, 2, 1)]
    stop.set()
    for thread in threads:
        thread.join()
    server.close()
    assert failed == [], "a version goes back"
    assert set(seen) == {"1 green", "2 red"}, "the middle of the picture, and then all of it, squeezed"
    assert asked == ["green", "red", "green"]


def two_colours() -> bytes:
    """Mostly red, green in the middle."""
    import io

    from PIL import Image

    picture = Image.new("RGB", (96, 32), "red")
    picture.paste("lime", (32, 0, 64, 32))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
