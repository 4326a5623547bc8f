from __future__ import annotations

import itertools
import sys
import threading
import time

import msgspec
import pytest
import torch

from exportweb import Store, artifact
from exportweb.bucket import Bucket
from exportweb.errors import StoreError
from exportweb.exporters import pace
from exportweb.exporters.publisher import Publisher
from exportweb.lease import LOCK, Owner


class SlowStore(Store):
    """A real folder on a disk that can be made to wait, or to be full."""

    def __init__(self, folder):
        super().__init__(folder)
        self.free = threading.Event()
        self.free.set()
        self.full = False
        self.attempts = 0
        self.writing = threading.Event()

    def publish(self, write, *, suffix=".onnx"):
        self.writing.set()
        self.attempts += 1
        assert self.free.wait(30)
        if self.full:
            raise StoreError(f"The store {self.folder} can't be written: No space left on device.")
        return super().publish(write, suffix=suffix)


@pytest.fixture
def store(tmp_path):
    return SlowStore(tmp_path / "store")


@pytest.fixture
def publisher(store):
    publisher = Publisher(store, keep=3)
    yield publisher
    publisher.close()


def submit(publisher: Publisher, exporter, epoch: int) -> None:
    publisher.submit(exporter.graph, exporter.weights, exporter.card(exporter.graph, epoch=epoch))


def until(condition) -> None:
    """Wait for something that happens in the publisher's thread."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def epochs(store: Store) -> list[int | None]:
    return [artifact.read(path).card.source.epoch for path in store.versions().values()]


def test_versions_are_published_in_order_and_old_ones_removed(publisher, store, exporter):
    for epoch in range(1, 6):
        submit(publisher, exporter, epoch)
        assert publisher.flush(30)
    assert list(store.versions()) == [3, 4, 5]
    assert epochs(store) == [3, 4, 5]
    assert store.latest().number == 5
    assert artifact.read(store.path(5)).card.version == 5


def test_a_slow_store_skips_versions_but_never_the_latest(publisher, store, exporter, caplog):
    store.free.clear()
    submit(publisher, exporter, 1)
    assert store.writing.wait(30)
    for epoch in (2, 3, 4):
        submit(publisher, exporter, epoch)  # returns at once, though nothing can be written
    store.free.set()
    assert publisher.flush(30)
    assert epochs(store) == [1, 4]
    assert "epoch 2 was skipped" in caplog.text and "epoch 3 was skipped" in caplog.text


def test_what_is_published_is_what_was_submitted_not_what_training_made_of_it(publisher, store, exporter):
    store.free.clear()
    head = exporter.model.head.bias
    before = head.detach().clone()
    submit(publisher, exporter, 1)
    with torch.no_grad():
        head.fill_(9)
    try:
        store.free.set()
        assert publisher.flush(30)
        assert before.numpy().tobytes() in store.path(1).read_bytes()
    finally:
        with torch.no_grad():
            head.copy_(before)


def test_a_version_that_the_store_does_not_take_is_tried_again_by_itself(publisher, store, exporter, caplog, monkeypatch):
    monkeypatch.setattr("exportweb.exporters.publisher._PAUSE", 0.05)
    store.full = True
    submit(publisher, exporter, 1)
    until(lambda: store.attempts >= 3)
    assert caplog.text.count("epoch 1 could not be published") == 1  # however often it is tried
    assert "No space left on device" in caplog.text and "training goes on" in caplog.text
    store.full = False
    until(lambda: store.latest() is not None)
    assert publisher.flush(30)
    assert epochs(store) == [1]
    assert "epoch 1 is version 1" in caplog.text


def test_a_newer_version_takes_the_place_of_one_that_failed(publisher, store, exporter, caplog):
    store.full = True
    submit(publisher, exporter, 1)
    until(lambda: "epoch 1 could not be published" in caplog.text)
    store.full = False
    submit(publisher, exporter, 2)
    assert publisher.flush(30)
    assert epochs(store) == [2]


def test_flush_tries_once_more_now(publisher, store, exporter, caplog, monkeypatch):
    monkeypatch.setattr("exportweb.exporters.publisher._PAUSE", 3600)
    store.full = True
    submit(publisher, exporter, 1)
    assert not publisher.flush(30)
    assert store.attempts == 2
    store.full = False
    assert publisher.flush(30)
    assert epochs(store) == [1]


def test_closing_gives_up_and_says_so(publisher, store, exporter, caplog):
    store.full = True
    submit(publisher, exporter, 7)
    assert not publisher.flush(30)
    publisher.close()
    until(lambda: f"epoch 7 was given up; it is not in {store.location}" in caplog.text)
    assert not publisher.flush(30)  # and does not wait for what will not come


def test_a_store_that_another_trainer_took_over_is_left_alone(exporter, caplog):
    store = Store("memory://taken-over")
    with store.lock():
        publisher = Publisher(store, keep=3)
        submit(publisher, exporter, 1)
        assert publisher.flush(30)
        other = Owner(id="other", host="elsewhere", machine="", pid=7, renewed=time.time())
        Bucket(store.location).put(LOCK, msgspec.json.encode(other))
        for epoch in (2, 3):
            submit(publisher, exporter, epoch)
            assert publisher.flush(30)
        publisher.close()
    assert list(store.versions()) == [1]
    assert caplog.text.count("taken over by another process (pid 7 on elsewhere)") == 1


def test_the_best_version_stays(store, exporter):
    publisher = Publisher(store, keep=1, best="accuracy")
    for epoch, accuracy in enumerate((0.5, 0.9, 0.6, 0.7), 1):
        card = exporter.card(exporter.graph, epoch=epoch, metrics={"accuracy": accuracy})
        publisher.submit(exporter.graph, exporter.weights, card)
        assert publisher.flush(30)
    publisher.close()
    assert epochs(store) == [2, 4] and store.best() == 2


def test_a_metric_has_a_name(store):
    with pytest.raises(StoreError, match="should be a name such as 'accuracy'"):
        Publisher(store, keep=1, best="-")


def test_old_versions_that_can_not_be_deleted_are_no_failure_of_the_new_one(publisher, store, exporter, caplog):
    (store.folder / "LATEST").parent.mkdir()
    for number in range(1, 5):
        (store.folder / f"{number:06d}.onnx").mkdir()  # unlink refuses folders
    submit(publisher, exporter, 1)
    assert publisher.flush(30)
    assert store.latest().number == 5
    assert "epoch 1 is version 5" in caplog.text and "old versions could not be deleted" in caplog.text


def test_weights_that_are_not_finite_are_not_published_and_the_store_says_why(publisher, store, exporter, caplog):
    head = exporter.model.head.bias
    before = head.detach().clone()
    submit(publisher, exporter, 1)
    assert publisher.flush(30)
    with torch.no_grad():
        head[0] = float("inf")
    submit(publisher, exporter, 2)
    with torch.no_grad():
        head.copy_(before)
    assert publisher.flush(30)
    assert list(store.versions()) == [1]
    (refusal,) = store.refusals()
    assert refusal.epoch == 2 and "head.bias holds NaN or infinity" in refusal.reason
    submit(publisher, exporter, 3)
    assert publisher.flush(30)
    assert epochs(store) == [1, 3]


def test_nothing_is_left_behind_but_versions(publisher, store, exporter):
    submit(publisher, exporter, 1)
    assert publisher.flush(30)
    assert {path.name for path in store.folder.iterdir()} == {"000001.onnx", "LATEST"}


def test_memory_for_snapshots_is_made_once(publisher, exporter):
    publisher.prepare(exporter.graph, exporter.weights)
    made = [tensor.data_ptr() for snapshot in publisher._snapshots for tensor in snapshot.tensors]
    for epoch in range(5):
        submit(publisher, exporter, epoch)
        assert publisher.flush(30)
    assert sorted(made) == sorted(t.data_ptr() for s in publisher._snapshots for t in s.tensors)


def test_the_training_is_left_alone_after_a_version_unless_it_waits(publisher, store, exporter, monkeypatch):
    read = itertools.count()
    monkeypatch.setattr(pace, "ran_and_waited", lambda _: (60.0 * (at := next(read)), 600.0 * at))  # others want every core
    submit(publisher, exporter, 1)
    until(lambda: publisher.published == 1)
    submit(publisher, exporter, 2)
    time.sleep(0.5)
    assert epochs(store) == [1]
    assert publisher.flush(15) and epochs(store) == [1, 2]  # not the half minute for which it would have rested


def test_what_waits_its_turn_is_published_at_the_end(publisher, store, exporter, monkeypatch):
    read = itertools.count()
    monkeypatch.setattr(pace, "ran_and_waited", lambda _: (60.0 * (at := next(read)), 600.0 * at))
    submit(publisher, exporter, 1)
    until(lambda: publisher.published == 1)
    submit(publisher, exporter, 2)
    publisher.close()
    until(lambda: epochs(store) == [1, 2])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how long a thread has waited for a core")
def test_what_a_version_takes_is_noticed(publisher, exporter):
    seen = []
    version = publisher._pace.version

    def note(threads):
        seen.append(before := list(threads))
        return version(before)

    publisher._pace.version = note
    submit(publisher, exporter, 1)
    assert publisher.flush(30)
    (threads,) = seen
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    assert [names[thread] for thread in threads] == ["exportweb-publisher", "exportweb-beside", "exportweb-beside"]
