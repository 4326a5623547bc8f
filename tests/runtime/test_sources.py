from __future__ import annotations

import os
from pathlib import Path

import pytest

from exportweb import Store
from exportweb.errors import StoreError
from exportweb.runtime.bucket import BucketSource
from exportweb.runtime.sources import FileSource, StoreSource, open_source
from serving import Artifacts
from versions import Served


def test_a_location_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    assert isinstance(open_source(tmp_path), StoreSource)
    assert isinstance(open_source(tmp_path / "not-yet"), StoreSource)
    assert isinstance(open_source(tmp_path / "folder.onnx"), StoreSource)
    assert isinstance(open_source(tmp_path / "not-yet.onnx"), FileSource)
    assert isinstance(open_source(f"file://{tmp_path}"), StoreSource)
    assert isinstance(open_source("memory://flowers"), BucketSource)
    with pytest.raises(StoreError, match="Protocol not known"):
        open_source("foo://flowers")


def test_a_store_says_what_latest_names(tmp_path: Path, artifacts: Artifacts) -> None:
    store, source = Store(tmp_path), StoreSource(tmp_path)
    assert source.candidate() is None
    for epoch in (1, 2):
        artifacts.publish(store, epoch=epoch)
    store.refuse("not finite")
    candidate = source.candidate()
    assert candidate is not None and candidate.path == store.path(2) and not candidate.rollback
    assert source.versions() == [1, 2] and len(source.refusals()) == 1
    assert source.version(1).path == store.path(1)
    card = source.card(1)
    assert card is not None and card.source.epoch == 1
    store.rollback(1)
    back = source.candidate()
    assert back is not None and back.number == 1 and back.rollback


def test_a_version_that_is_not_there_has_no_fingerprint(tmp_path: Path, artifacts: Artifacts) -> None:
    store, source = Store(tmp_path), StoreSource(tmp_path)
    artifacts.publish(store)
    store.path(1).unlink()
    candidate = source.candidate()
    assert candidate is not None and candidate.number == 1 and candidate.fingerprint is None


def test_a_file_that_is_replaced_has_another_fingerprint(tmp_path: Path, artifacts: Artifacts) -> None:
    path = tmp_path / "model.onnx"
    source = FileSource(path)
    assert source.candidate() is None
    first, second = artifacts.write(path), artifacts.write(tmp_path / "second.onnx", scale=5.0)
    before = source.candidate()
    assert before is not None and before.path == first and source.candidate() == before
    second.replace(path)
    assert source.candidate() != before
    assert source.versions() == [] and source.refusals() == []


def test_what_a_running_server_has_loaded_is_not_pruned(tmp_path: Path, artifacts: Artifacts) -> None:
    store = Store(tmp_path / "store")
    artifacts.publish(store)
    served = Served(store.folder)
    try:
        served.model.start(wait=True)
        # The next one is not an artifact: it is rejected, and 1 keeps serving though LATEST names 2.
        store.publish(lambda file, number: file.write(os.urandom(100)))
        served.heard.wait("rejected")
        assert store.prune(1) == []
        artifacts.publish(store)
        while served.heard.wait("loaded").info.version != 3:
            pass
    finally:
        served.model.close()
    assert store.prune(1) == [1, 2]
