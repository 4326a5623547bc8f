"""Where a store's files lie: what a folder and a bucket have in common."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import BinaryIO, Protocol

from exportweb.folder import Folder


class Backend(Protocol):
    """A place for files. Methods raise `OSError`; `FileNotFoundError` for what isn't there."""

    location: str

    def names(self) -> list[str]:
        """Return the names of all files; none where there is nothing yet."""

    def where(self, name: str) -> PurePath:
        """Return the path of a file, or its key in a bucket."""

    def read(self, name: str) -> bytes:
        """Return what a small file holds."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to a local path, where it appears whole or not at all."""

    def add(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Make a large file that isn't there yet, whole or not at all."""

    def put(self, name: str, data: bytes) -> None:
        """Make or replace a small file, atomically."""

    def delete(self, name: str) -> bool:
        """Delete a file unless a server holds it; return whether it is gone."""

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the store for publishing; raise `StoreLocked` if another process does."""

    def check(self) -> None:
        """Raise `StoreLocked` if the lock was held and another process has taken it over."""


def place(location: str | os.PathLike[str]) -> Path | str:
    """Return where a location is: a path on this machine, or a URL as text."""
    text = os.fspath(location).removeprefix("file://")
    return text.rstrip("/") if "://" in text else Path(text)


def backend(where: Path | str) -> Backend:
    """Return the backend for a path or a URL; raises `StoreError` for a URL that can't be used here."""
    if isinstance(where, Path):
        return Folder(where)
    from exportweb.bucket import Bucket  # needs fsspec

    return Bucket(where)
