from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from exportweb import Store
from exportweb.web.events import MAX_WAITING, _Client
from serving import Artifacts, Server
from streams import Stream


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


@pytest.fixture
def server(serve: Callable[..., Server], store: Store) -> Any:
    return serve(store.folder)


def test_versions_arrive_as_events(server: Server, artifacts: Artifacts, store: Store) -> None:
    stream = Stream(server.url)
    assert stream.lines[0] == "retry: 1000"
    assert stream.headers is not None
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-store"

    artifacts.publish(store, epoch=1, metrics={"accuracy": 0.9})
    loaded = stream.until("loaded")
    assert loaded["kind"] == "loaded"
    assert loaded["info"]["version"] == 1
    assert loaded["info"]["state"] == "serving"
    assert loaded["info"]["metrics"] == {"accuracy": 0.9}

    artifacts.publish(store, damage=True)
    rejected = stream.until("rejected")
    assert rejected["info"]["version"] == 2
    assert "golden" in rejected["info"]["reason"]

    store.refuse("the weights aren't finite", epoch=3)
    refused = stream.until("refused")
    assert refused["info"]["reason"] == "the weights aren't finite"
    assert refused["info"]["epoch"] == 3


def test_every_client_gets_every_event(server: Server, artifacts: Artifacts, store: Store) -> None:
    streams = [Stream(server.url) for _ in range(5)]
    artifacts.publish(store)
    assert [stream.until("loaded")["info"]["version"] for stream in streams] == [1] * 5


def test_clients_that_leave_are_forgotten(server: Server, artifacts: Artifacts, store: Store) -> None:
    for _ in range(3):
        with httpx.stream("GET", f"{server.url}/events", timeout=30) as answer:
            assert answer.status_code == 200
    artifacts.publish(store)
    server.wait_for_version(1)
    server.wait(lambda: 'path="/events",status="200"} 3.0' in server.http.get("/metrics").text, what="three streams to end")


def test_open_streams_end_when_the_server_stops(server: Server) -> None:
    streams = [Stream(server.url) for _ in range(3)]
    assert server.stop() == 0
    assert all(stream.ended() for stream in streams)


def test_head_has_no_stream(server: Server) -> None:
    answer = server.http.head("/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_client_that_does_not_read_is_cut_off() -> None:
    """Its transport takes nothing more: after so many events its stream ends, instead of holding them for ever."""

    async def scenario() -> bool:
        async def send(message: Any) -> None:
            await asyncio.sleep(3600)

        async def stream() -> None:
            nonlocal client
            client = _Client(asyncio.get_running_loop())
            await client.stream(send)

        client: _Client | None = None
        task = asyncio.create_task(stream())
        await asyncio.sleep(0)
        assert client is not None
        for _ in range(MAX_WAITING):
            client.offer(b"event")
        assert not task.done()
        client.offer(b"one too many")
        await asyncio.wait_for(task, 10)
        return task.cancelled()

    assert asyncio.run(scenario()) is False
