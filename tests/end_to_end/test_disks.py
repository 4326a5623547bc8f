"""Stores on disks that are full or read-only: real ones, which only root may mount."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from exportweb import Store, artifact
from exportweb.errors import StoreError
from serving import Artifacts


class Disk:
    """A disk of two megabytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", path], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")

    def remount(self, how: str) -> None:
        """Make it read-only ("ro") or writable ("rw")."""
        subprocess.run(["mount", "-o", f"remount,{how}", self.path], check=True)

    def close(self) -> None:
        subprocess.run(["umount", self.path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.close()


def megabyte(file: BinaryIO, number: int) -> None:
    file.write(bytes(1_000_000))


def assert_whole(store: Store, number: int) -> None:
    latest = store.latest()
    assert latest is not None and latest.number == number
    artifact.verify(artifact.read(store.path(number)))


def test_a_full_disk_refuses_a_version_and_takes_one_when_there_is_room(disk: Disk, artifacts: Artifacts) -> None:
    store = Store(disk.path / "store")
    artifacts.publish(store)
    other = disk.path / "other"
    other.write_bytes(bytes(1_500_000))
    for _ in range(3):
        with pytest.raises(StoreError, match=r"store can't be written: No space left on device"):
            store.publish(megabyte)
        assert sorted(path.name for path in store.folder.iterdir()) == ["000001.onnx", "LATEST"]
        assert_whole(store, 1)
    other.unlink()
    assert_whole(store, artifacts.publish(store))


def test_a_disk_with_no_room_left_at_all_keeps_what_latest_names(disk: Disk, artifacts: Artifacts) -> None:
    """Room for a version but not for `LATEST` is the narrowest of all moments."""
    store = Store(disk.path / "store")
    artifacts.publish(store)

    def fill(file: BinaryIO, number: int) -> None:
        file.write(b"small")
        file.flush()
        with contextlib.suppress(OSError), (disk.path / "other").open("wb", buffering=0) as other:
            while other.write(bytes(4096)):  # until that raises
                pass

    with pytest.raises(StoreError, match="No space left on device"):
        store.publish(fill)
    assert_whole(store, 1)
    (disk.path / "other").unlink()
    assert_whole(store, artifacts.publish(store))


def test_a_read_only_folder_refuses_everything_and_is_still_read(disk: Disk, artifacts: Artifacts) -> None:
    store = Store(disk.path / "store")
    artifacts.publish(store)
    disk.remount("ro")
    for use in (lambda: artifacts.publish(store), lambda: store.pin(1), lambda: store.rollback(1), lambda: store.refuse("no")):
        with pytest.raises(StoreError, match="store can't be written: Read-only file system"):
            use()
    with pytest.raises(StoreError, match="can't be locked: Read-only file system"), store.lock():
        pass
    assert_whole(store, 1)
    disk.remount("rw")
    with store.lock():
        assert_whole(store, artifacts.publish(store))
