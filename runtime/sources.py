"""Where versions come from: a store's folder or URL, or one file that is replaced. All say which file should serve now."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from exportweb.backend import place
from exportweb.card import Card
from exportweb.runtime.watch import changes
from exportweb.store import LATEST, REFUSALS, SUFFIXES, Refusal, Store

Fingerprint = tuple[int, int, int]
"""Inode, size in bytes, time of the last change in ns: another file, or a file that is being written, has another one."""


class Candidate(NamedTuple):
    """The file that should serve now.

    `number` is the store's, None for a single file; `rollback` says that going back to it is meant; `fingerprint` is None while
    the file isn't there.
    """

    path: Path
    number: int | None
    rollback: bool
    fingerprint: Fingerprint | None


class Source(Protocol):
    """What the builder asks, in one thread."""

    def changes(self, stop: threading.Event) -> Iterator[None]:
        """Yield whenever something may have changed, now and then if nothing has; end soon after `stop` is set."""

    def candidate(self) -> Candidate | None:
        """Return the file that should serve, None while there is none; raise `StoreError` if that can't be told."""

    def versions(self) -> list[int]:
        """Return the numbers of all versions that are there, oldest first."""

    def version(self, number: int) -> Candidate | None:
        """Return a version, as if it should serve; None if it can't be had."""

    def card(self, number: int) -> Card | None:
        """Read a version's card; raise `ExportwebError` or `OSError` if that can't be done."""

    def refusals(self) -> list[Refusal]:
        """Return what the trainer did not publish, oldest first."""

    def close(self) -> None:
        """Leave nothing behind."""


class StoreSource:
    """A store in a folder: `LATEST` is the authority. Every call looks again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = Store(folder)

    def changes(self, stop: threading.Event) -> Iterator[None]:
        """Watch `LATEST`, refusals and versions; not the files that a publisher still writes."""
        return changes(self._folder, _concerns_a_store, stop)

    def candidate(self) -> Candidate | None:
        """Return the version that `LATEST` names."""
        latest = self._store.latest()
        if latest is None:
            return None
        return self.version(latest.number)._replace(rollback=latest.rollback)

    def versions(self) -> list[int]:
        """Return the store's versions."""
        return list(self._store.versions())

    def version(self, number: int) -> Candidate:
        """Return a version, whether or not it is there."""
        path = self._folder / self._store.versions().get(number, f"{number:06d}{SUFFIXES[0]}")
        return Candidate(path, number, False, fingerprint(path))

    def card(self, number: int) -> Card | None:
        """Read a version's card."""
        return self._store.card(number)

    def refusals(self) -> list[Refusal]:
        """Return the store's refusals."""
        return self._store.refusals()

    def close(self) -> None:
        """Nothing was made."""


class FileSource:
    """One file, which serves, and serves again when it is replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def changes(self, stop: threading.Event) -> Iterator[None]:
        """Watch only the file itself."""
        return changes(self._path.parent, self._path.name.__eq__, stop)

    def candidate(self) -> Candidate | None:
        """Return the file, if it is there."""
        found = fingerprint(self._path)
        return None if found is None else Candidate(self._path, None, False, found)

    def versions(self) -> list[int]:
        """A single file has no numbered versions beside it."""
        return []

    def version(self, number: int) -> None:
        """A single file has no numbered versions beside it."""

    def card(self, number: int) -> None:
        """A single file has no numbered versions beside it."""

    def refusals(self) -> list[Refusal]:
        """A single file has no refusals."""
        return []

    def close(self) -> None:
        """Nothing was made."""


def open_source(location: str | os.PathLike[str], *, keep: int = 1) -> Source:
    """Return the source at a location: a URL or a folder is a store; what isn't there yet is a file if its name ends like one.

    Of a bucket's versions the last `keep` that were to serve stay here. Raises `StoreError` for a URL that can't be used here.
    """
    where = place(location)
    if isinstance(where, str):
        return cast(Source, importlib.import_module("exportweb.runtime.bucket").BucketSource(where, keep=keep))
    path = where.absolute()
    if path.is_dir() or (not path.exists() and path.suffix not in SUFFIXES):
        return StoreSource(path)
    return FileSource(path)


def _concerns_a_store(name: str) -> bool:
    return name in (LATEST, REFUSALS) or (name.endswith(SUFFIXES) and not name.startswith("."))


def fingerprint(path: Path) -> Fingerprint | None:
    """Return a file's fingerprint, None if it isn't there or can't be looked at."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
