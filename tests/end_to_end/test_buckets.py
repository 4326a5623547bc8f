"""Training that publishes into a bucket which fails and is slow, and a server that follows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from exportweb import Store, artifact, export_hook
from exportweb.card import Source
from models import Tiny, batches, example, train_round
from serving import Server

SCRIPT = """
import sys
import torch
from exportweb import export_hook
from models import Tiny, batches, example, train_round

model = Tiny()
hook = export_hook(model, to=sys.argv[1], example=example(), labels=list("abcd"))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    train_round(model, optimizer, batches(1))
    hook.step(accuracy=epoch / 2)
"""


def source(store: Store, number: int) -> Source:
    card = store.card(number)
    assert card is not None
    return card.source


@pytest.fixture
def url(endpoint: Any) -> str:
    return str(endpoint.url(f"runs/{uuid.uuid4().hex}"))


def test_training_goes_on_while_its_bucket_fails_and_is_slow(
    endpoint: Any, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exportweb.exporters.publisher._PAUSE", 3600)
    torch.manual_seed(0)
    model = Tiny()
    optimizer, data = torch.optim.SGD(model.parameters(), 0.1), batches(1)
    with export_hook(model, to=url, keep=2, keep_best="accuracy", example=example(), labels=list("abcd")) as hook:

        def epoch(accuracy: float) -> bool:
            train_round(model, optimizer, data)
            hook.step(accuracy=accuracy)
            return hook.flush(120)

        assert epoch(0.9)
        endpoint.failing = True
        assert not epoch(0.1)
        assert "epoch 2 could not be published; training goes on, and it is tried again until there is a newer one" in caplog.text
        assert f"The store {url} can't be" in caplog.text
        endpoint.failing = False
        assert epoch(0.2)
        endpoint.delay = 0.3
        assert epoch(0.3)
        endpoint.delay = 0.0
        endpoint.failing = True
        assert not epoch(0.4)
        endpoint.failing = False
    # the last epoch was tried once more when the hook was closed
    store = Store(url)
    assert [source(store, number).epoch for number in store.versions()] == [1, 4, 5]
    assert store.best() == 1
    for number in store.versions():
        artifact.verify(artifact.read(store.download(number, tmp_path)))
    assert ".lock" not in endpoint.keys(url.partition("flowers/")[2])


def test_a_version_that_the_bucket_did_not_take_is_published_when_it_is_back(
    endpoint: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has to be trained or called for that."""
    monkeypatch.setattr("exportweb.exporters.publisher._PAUSE", 0.1)
    model = Tiny()
    with export_hook(model, to=url, example=example(), labels=list("abcd")) as hook:
        endpoint.failing = True
        hook.step(accuracy=0.5)
        time.sleep(1)
        endpoint.failing = False
        end = time.monotonic() + 60
        while Store(url).latest() is None:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_a_script_that_ends_without_closing_its_hook_publishes_its_last_epoch(endpoint: Any, url: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    done = subprocess.run([sys.executable, "-c", SCRIPT, url], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    store = Store(url)
    assert source(store, list(store.versions())[-1]).epoch == 2, done.stderr


def test_a_server_follows_a_bucket(endpoint: Any, url: str, serve: Callable[..., Server], artifacts: Any, picture: Any) -> None:
    store = Store(url)
    artifacts.publish(store)
    server = serve(url)
    server.wait_for_version(1)
    assert server.http.post("/predict", content=picture("red")).json()[0]["label"] == "red"
    endpoint.failing = True
    server.wait(lambda: "Nothing changes until it answers" in server.log)
    assert server.http.get("/readyz").status_code == 200
    endpoint.failing = False
    artifacts.publish(store)
    server.wait_for_version(2)
    store.rollback(1)
    server.wait_for_version(1)
    assert server.log.count("Nothing changes until it answers") == 1
    assert server.stop() == 0


def test_a_hook_serves_what_it_publishes_into_a_bucket(endpoint: Any, url: str) -> None:
    with export_hook(Tiny(), to=url, example=example(), labels=list("abcd"), serve=True, port=0) as hook:
        hook.step(accuracy=0.5)
        end = time.monotonic() + 60
        while json.load(urllib.request.urlopen(f"{hook.url}/versions"))["serving"] != 1:
            assert time.monotonic() < end
            time.sleep(0.1)
