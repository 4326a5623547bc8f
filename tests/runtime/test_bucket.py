from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exportweb import Store, artifact
from exportweb.errors import TornArtifact
from exportweb.runtime import watch
from exportweb.runtime.bucket import BucketSource
from exportweb.runtime.sources import Candidate
from serving import Artifacts
from versions import publish, version


@pytest.fixture(params=["s3", "memory"])
def store(request: pytest.FixtureRequest) -> Store:
    name = uuid.uuid4().hex
    return Store(request.getfixturevalue("endpoint").url(name) if request.param == "s3" else f"memory://{name}")


class Follower:
    """A source that looks when it is told to."""

    def __init__(self, store: Store) -> None:
        self.source = BucketSource(store.location)
        self._changes = self.source.changes(threading.Event())

    def look(self) -> Candidate | None:
        next(self._changes)
        return self.source.candidate()

    def downloads(self) -> list[str]:
        return sorted(path.name for path in Path(self.source._downloads.name).iterdir())


@pytest.fixture
def follower(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follower]:
    monkeypatch.setattr(watch, "POLL", 0.01)
    follower = Follower(store)
    yield follower
    follower.source.close()


def test_an_empty_bucket_has_nothing_to_serve(follower: Follower) -> None:
    assert follower.look() is None
    assert follower.source.versions() == [] and follower.source.refusals() == []


def test_what_latest_names_is_downloaded_once_and_what_was_before_is_deleted(
    store: Store, follower: Follower, artifacts: Artifacts
) -> None:
    artifacts.publish(store, epoch=1)
    first = follower.look()
    assert first is not None and (first.number, first.rollback) == (1, False)
    artifact.verify(artifact.read(first.path))
    assert follower.look() == first  # nothing new
    artifacts.publish(store, epoch=2)
    second = follower.look()
    assert second is not None and second.number == 2
    assert follower.downloads() == ["000002.onnx"]
    store.rollback(1)
    back = follower.look()
    assert back is not None and (back.number, back.rollback) == (1, True)
    assert follower.downloads() == ["000001.onnx"]


def test_another_version_can_be_fetched_beside_the_candidate(store: Store, follower: Follower, artifacts: Artifacts) -> None:
    for _ in range(3):
        artifacts.publish(store)
    latest = follower.look()
    assert latest is not None
    for number in (2, 1):
        found = follower.source.version(number)
        assert found is not None and found.number == number and found.path.exists()
    assert follower.downloads() == ["000001.onnx", "000003.onnx"]
    assert follower.source.candidate() == latest
    assert follower.source.version(9) is None


def test_cards_and_refusals_are_read(store: Store, follower: Follower, artifacts: Artifacts) -> None:
    artifacts.publish(store, epoch=5)
    publish(store, version()[:-9])
    store.refuse("not finite", epoch=6)
    follower.look()
    card = follower.source.card(1)
    assert card is not None and card.source.epoch == 5
    for _ in range(2):
        with pytest.raises(TornArtifact):
            follower.source.card(2)
    assert [refusal.epoch for refusal in follower.source.refusals()] == [6]


def test_a_bucket_that_fails_changes_nothing_and_is_mentioned_once(
    endpoint: Any, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "POLL", 0.05)
    store = Store(endpoint.url(uuid.uuid4().hex))
    artifacts.publish(store)
    follower = Follower(store)
    found = follower.look()
    endpoint.failing = True
    threading.Timer(2, lambda: setattr(endpoint, "failing", False)).start()
    assert follower.look() == found  # returns when the bucket answers again
    assert caplog.text.count("Nothing changes until it answers") == 1
    assert caplog.text.count("answers again") == 1
    follower.source.close()


def test_nothing_is_left_behind(follower: Follower, store: Store, artifacts: Artifacts) -> None:
    artifacts.publish(store)
    found = follower.look()
    assert found is not None
    follower.source.close()
    assert not found.path.parent.exists()
