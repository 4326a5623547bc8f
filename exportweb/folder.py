"""A store's files in a folder: written beside their name, synced, renamed; locked and held with `flock`."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from exportweb.atomic import PART, replace_file
from exportweb.errors import StoreLocked

log = logging.getLogger("exportweb")

_LOCK = ".lock"
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)  # what `flock` says of a file that somebody else has locked


class Folder:
    """The files of a store in a folder. Raises `OSError`; `FileNotFoundError` for what isn't there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.location = str(path)

    def names(self) -> list[str]:
        """Return the names of the files; none where there is no folder."""
        try:
            return os.listdir(self.path)
        except FileNotFoundError:
            return []

    def where(self, name: str) -> Path:
        """Return the path of a file."""
        return self.path / name

    def read(self, name: str) -> bytes:
        """Return what a small file holds."""
        return (self.path / name).read_bytes()

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        return (self.path / name).open("rb")

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to a path elsewhere."""
        with self.open(name) as file:
            replace_file(path, lambda copy: shutil.copyfileobj(file, copy))

    def add(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Make a large file, whole or not at all. Makes the folder if it isn't there."""
        self.path.mkdir(parents=True, exist_ok=True)
        replace_file(self.path / name, write, direct=True)

    def put(self, name: str, data: bytes) -> None:
        """Make or replace a small file, atomically."""
        self.path.mkdir(parents=True, exist_ok=True)
        replace_file(self.path / name, lambda file: file.write(data))

    def delete(self, name: str) -> bool:
        """Delete a file unless somebody holds it (see `hold`); return whether it is gone."""
        path = self.path / name
        try:
            file = path.open("r+b")  # NFS locks exclusively only what is open for writing
        except FileNotFoundError:
            return True
        try:
            if gone := _lock(file, exclusive=True):
                path.unlink(missing_ok=True)
        finally:
            _close_beside(file)
        return gone

    def check(self) -> None:
        """Nothing: this lock can't be lost while its process lives."""

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for publishing, until the block or the process ends, however it ends.

        Raises `StoreLocked` if another process holds it. Temporary files that a killed publisher left are removed.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / _LOCK).open("a+") as file:
            if not _lock(file, exclusive=True, warn=f"nothing keeps a second trainer out of {self.path}"):
                file.seek(0)
                raise StoreLocked(
                    f"Another process ({file.read().strip() or 'unknown'}) publishes into {self.path}; "
                    "give this run a store of its own, for example to='runs/second'."
                )
            file.truncate(0)
            file.write(f"pid {os.getpid()}")
            file.flush()
            for left in self.path.glob(f".*{PART}"):
                left.unlink(missing_ok=True)
            try:
                yield
            finally:
                _unlock(file)  # closing isn't enough: workers forked meanwhile have the file open, too


def hold(path: Path) -> BinaryIO:
    """Open a file so that no publisher deletes it until it is closed, where the file system has locks."""
    file = path.open("rb")
    _lock(file, exclusive=False)
    return file


def _close_beside(file: BinaryIO) -> None:
    """Close a file without waiting for it: the last user to close a deleted one does so for as long as the file system takes to free its
    blocks, which for a version is long enough to matter.
    """
    try:
        threading.Thread(target=file.close, name="exportweb-close", daemon=True).start()
    except RuntimeError:  # no thread starts while the interpreter exits
        file.close()


def _lock(file: IO[Any], *, exclusive: bool, warn: str = "") -> bool:
    """Lock an open file at once; return False if another holds it, True, with a warning, where there are no locks."""
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if warn:
            log.warning("exportweb: this file system has no locks (%s): %s", error.strerror, warn)
        return True
    return True


def _unlock(file: IO[Any]) -> None:
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
