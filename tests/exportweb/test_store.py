from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from exportweb import Store
from exportweb.errors import StoreError, StoreLocked
from exportweb.store import Latest
from serving import Artifacts

PUBLISHER = """
import sys, time
from exportweb import Store

store = Store(sys.argv[1])
def slowly(file, number):
    file.write(b"half of it")
    file.flush()
    print("writing", number, flush=True)
    time.sleep(60)

with store.lock():
    print("locked", flush=True)
    if sys.argv[2] == "publish":
        store.publish(slowly)
    time.sleep(60)
"""


def content(text: str = "v"):  # type: ignore[no-untyped-def]
    def write(file: BinaryIO, number: int) -> None:
        file.write(f"{text}{number}".encode())

    return write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs" / "flowers")


@pytest.fixture
def publisher(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the store."""
    process = subprocess.Popen([sys.executable, "-c", PUBLISHER, store.folder, "hold"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_an_empty_store_is_no_error(store: Store) -> None:
    assert store.versions() == {}
    assert store.latest() is None
    assert store.refusals() == []


def test_versions_are_numbered_from_one_and_latest_is_the_newest(store: Store) -> None:
    assert [store.publish(content()) for _ in range(3)] == [1, 2, 3]
    assert list(store.versions()) == [1, 2, 3]
    assert store.latest() == Latest(3)
    assert store.path(2).name == "000002.onnx"
    assert store.path(2).read_text() == "v2"
    assert (store.folder / "LATEST").read_text() == "000003.onnx\n"


def test_numbers_sort_as_numbers_beyond_six_digits(store: Store) -> None:
    store.folder.mkdir(parents=True)
    for number in (1_000_000, 999_999):
        (store.folder / f"{number}.onnx").write_bytes(b"")
    assert list(store.versions()) == [999_999, 1_000_000]
    assert store.publish(content()) == 1_000_001


def test_other_files_are_not_versions(store: Store) -> None:
    store.publish(content())
    for name in ("notes.txt", "12.onnx", "000009.onnx.part", ".000009.onnx.part", "000009.pt", "best.onnx"):
        (store.folder / name).write_text("x")
    assert list(store.versions()) == [1]


def test_without_latest_the_highest_number_is_it(store: Store) -> None:
    """A folder that somebody copied versions into."""
    store.publish(content())
    store.publish(content())
    (store.folder / "LATEST").unlink()
    assert store.latest() == Latest(2)


def test_a_writer_that_fails_leaves_nothing_behind(store: Store) -> None:
    store.publish(content())

    def fail(file: BinaryIO, number: int) -> None:
        file.write(b"half of it")
        raise RuntimeError("no more weights")

    with pytest.raises(RuntimeError, match="no more weights"):
        store.publish(fail)
    assert sorted(os.listdir(store.folder)) == ["000001.onnx", "LATEST"]
    assert store.publish(content()) == 2


def test_a_rollback_is_followed_and_remembered(store: Store) -> None:
    for _ in range(3):
        store.publish(content())
    store.rollback(1)
    assert store.latest() == Latest(1, rollback=True)
    assert store.publish(content()) == 4
    assert store.latest() == Latest(4)


def test_a_rollback_needs_its_version(store: Store) -> None:
    store.publish(content())
    with pytest.raises(StoreError, match="no version 9; it has 1"):
        store.rollback(9)
    assert store.latest() == Latest(1)


def test_pruning_keeps_the_newest_and_what_serves(store: Store) -> None:
    for _ in range(5):
        store.publish(content())
    store.rollback(2)
    assert store.prune(2) == [1, 3]
    assert list(store.versions()) == [2, 4, 5]
    assert store.prune(2) == []


def test_a_number_is_never_used_again(store: Store) -> None:
    for _ in range(3):
        store.publish(content())
    store.path(3).unlink()
    assert store.publish(content()) == 4


def test_pinned_versions_stay(store: Store) -> None:
    for _ in range(5):
        store.publish(content())
    store.pin(1)
    store.pin(2)
    assert store.pinned() == {1, 2}
    assert store.prune(2) == [3]
    store.unpin(2)
    assert store.prune(2) == [2]
    assert list(store.versions()) == [1, 4, 5]
    with pytest.raises(StoreError, match="has no version 3; it has 1, 4, 5"):
        store.pin(3)
    with pytest.raises(StoreError, match=r"Version 4 .* isn't pinned; pinned: 1"):
        store.unpin(4)


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 2), ("-loss", 1), ("f1", None)])
def test_the_best_version_stays(store: Store, artifacts: Artifacts, metric: str, best: int | None) -> None:
    """2 has the highest accuracy and 1 the lowest loss of a number; 3 has none of the two."""
    artifacts.publish(store, metrics={"accuracy": 0.8, "loss": 0.1})
    artifacts.publish(store, metrics={"accuracy": 0.9, "loss": float("nan")})
    artifacts.publish(store)
    store.publish(content())  # no artifact: it doesn't compete
    artifacts.publish(store, metrics={"accuracy": 0.7, "loss": 0.3})
    assert store.prune(1, best=metric) == [number for number in (1, 2, 3, 4) if number != best]
    assert store.best() == best


def test_a_better_version_takes_the_place_of_the_best(store: Store, artifacts: Artifacts) -> None:
    for accuracy in (0.5, 0.9, 0.6, 0.95, 0.7):
        artifacts.publish(store, metrics={"accuracy": accuracy})
        store.prune(1, best="accuracy")
    assert list(store.versions()) == [4, 5] and store.best() == 4
    assert Store(store.folder).prune(1, best="accuracy") == []  # another run knows it from the cards
    assert store.prune(1) == [4] and store.best() is None


@pytest.mark.parametrize("metric", ["", "-", " "])
def test_a_metric_has_a_name(store: Store, metric: str) -> None:
    store.publish(content())
    with pytest.raises(StoreError, match="should be a name such as 'accuracy'"):
        store.prune(1, best=metric)


@pytest.mark.parametrize("text", ["", "\n", "garbage", "12", "../../etc/passwd", "\xff\xfe"])
def test_a_latest_that_names_no_version_is_an_error(store: Store, text: str) -> None:
    store.publish(content())
    (store.folder / "LATEST").write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match=r"should name a version such as 000012\.onnx"):
        store.latest()


def test_a_reader_never_meets_half_of_anything(store: Store) -> None:
    """While versions are published as fast as they can be, what LATEST names is always whole and never goes back."""
    store.publish(content())
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            store.publish(content("x" * 100_000))
            store.prune(3)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        seen = 0
        while seen < 50:
            latest = store.latest()
            assert latest is not None
            assert latest.number >= seen
            seen = latest.number
            try:
                text = store.path(seen).read_text()
            except (StoreError, FileNotFoundError):
                continue  # pruned since: three versions were published meanwhile
            assert text.lstrip("vx") == str(seen)
    finally:
        stop.set()
        thread.join()


def test_a_publisher_that_is_killed_leaves_a_whole_store(store: Store) -> None:
    store.publish(content())
    process = subprocess.Popen([sys.executable, "-c", PUBLISHER, store.folder, "publish"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    assert process.stdout.readline() == "writing 2\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()

    assert store.latest() == Latest(1)
    assert list(store.versions()) == [1]
    assert ".000002.onnx.part" in os.listdir(store.folder)
    with store.lock():
        assert ".000002.onnx.part" not in os.listdir(store.folder)
        assert store.publish(content()) == 2


def test_one_process_publishes_at_a_time(store: Store, publisher: subprocess.Popen[str]) -> None:
    with pytest.raises(StoreLocked, match=rf"pid {publisher.pid}.*runs/second"), store.lock():
        pass
    publisher.kill()
    publisher.wait()
    with store.lock():
        pass


def test_readers_need_no_lock(store: Store, publisher: subprocess.Popen[str]) -> None:
    assert store.latest() is None
    store.publish(content())
    assert store.latest() == Latest(1)


def test_a_lock_is_free_after_its_block_even_if_a_forked_worker_lives_on(store: Store) -> None:
    with store.lock():
        pid = os.fork()
        if pid == 0:  # a data loader's worker: it inherits every open file
            signal.pause()
    try:
        with store.lock():
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_refusals_are_kept_with_their_reason(store: Store) -> None:
    store.refuse("the weights aren't finite", epoch=3)
    store.refuse("still not", step=900)
    with (store.folder / "refusals.jsonl").open("ab") as file:
        file.write(b'{"reason": "still being wri')
    first, second = store.refusals()
    assert (first.reason, first.epoch, first.step) == ("the weights aren't finite", 3, None)
    assert (second.reason, second.epoch, second.step) == ("still not", None, 900)
    assert second.time >= first.time


def test_a_store_that_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    store = Store(tmp_path / "runs")
    with pytest.raises(StoreError, match="runs can't be read"):
        store.versions()
    with pytest.raises(StoreError, match="can't be read"):
        store.latest()
    with pytest.raises(StoreError, match="runs can't be read: Not a directory"):
        store.publish(content())
    with pytest.raises(StoreError, match="runs can't be locked"), store.lock():
        pass


def test_a_full_disk_is_said_plainly(store: Store) -> None:
    def full(file: BinaryIO, number: int) -> None:
        with Path("/dev/full").open("wb", buffering=0) as device:
            device.write(b"x")

    with pytest.raises(StoreError, match="No space left on device"):
        store.publish(full)
    assert store.versions() == {}
