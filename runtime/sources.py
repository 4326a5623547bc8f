"""Where versions come from: the folder of a store, or one file that is replaced. Both say which file should serve now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Protocol

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
    """What the builder asks; every call looks again."""

    folder: Path

    def candidate(self) -> Candidate | None:
        """Return the file that should serve, None while there is none; raise `StoreError` if that can't be told."""

    def versions(self) -> dict[int, Path]:
        """Return all versions that are there, by number, oldest first."""

    def refusals(self) -> list[Refusal]:
        """Return what the trainer did not publish, oldest first."""

    def concerns(self, name: str) -> bool:
        """Whether a change of the file `name` in `folder` can mean anything."""


class StoreSource:
    """A store: `LATEST` is the authority."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = Store(folder)

    def candidate(self) -> Candidate | None:
        """Return the version that `LATEST` names."""
        latest = self._store.latest()
        if latest is None:
            return None
        path = next((p for n, p in self._store.versions().items() if n == latest.number), self.folder / f"{latest.number:06d}{SUFFIXES[0]}")
        return Candidate(path, latest.number, latest.rollback, fingerprint(path))

    def versions(self) -> dict[int, Path]:
        """Return the store's versions."""
        return self._store.versions()

    def refusals(self) -> list[Refusal]:
        """Return the store's refusals."""
        return self._store.refusals()

    def concerns(self, name: str) -> bool:
        """`LATEST`, refusals and versions; not the files that a publisher still writes."""
        return name in (LATEST, REFUSALS) or (name.endswith(SUFFIXES) and not name.startswith("."))


class FileSource:
    """One file, which serves, and serves again when it is replaced."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self._path = path

    def candidate(self) -> Candidate | None:
        """Return the file, if it is there."""
        found = fingerprint(self._path)
        return None if found is None else Candidate(self._path, None, False, found)

    def versions(self) -> dict[int, Path]:
        """A single file has no numbered versions beside it."""
        return {}

    def refusals(self) -> list[Refusal]:
        """A single file has no refusals."""
        return []

    def concerns(self, name: str) -> bool:
        """Only the file itself."""
        return name == self._path.name


def open_source(path: str | os.PathLike[str]) -> Source:
    """Return the source at a path: a folder is a store; what isn't there yet is a file if its name ends like one."""
    path = Path(path).absolute()
    if path.is_dir() or (not path.exists() and path.suffix not in SUFFIXES):
        return StoreSource(path)
    return FileSource(path)


def fingerprint(path: Path) -> Fingerprint | None:
    """Return a file's fingerprint, None if it isn't there or can't be looked at."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
