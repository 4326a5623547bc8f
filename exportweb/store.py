"""The store: the ordered versions of one model in a folder.

    runs/flowers/
        000011.onnx  000012.onnx  000013.onnx     immutable once they have their name
        LATEST                                    names one of them; alone is ever replaced, atomically
        refusals.jsonl                            what was not published, and why

A version is written beside its name, synced, renamed, and only then named by `LATEST` in the same way, so that a reader, or a
crash at any moment, never meets half a file.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from exportweb.atomic import PART, replace_file
from exportweb.errors import StoreError, StoreLocked

SUFFIXES = (".onnx", ".torchscript")
LATEST = "LATEST"
REFUSALS = "refusals.jsonl"
_ROLLBACK = "rollback"
_NAME = re.compile(r"(\d{6,})(\.onnx|\.torchscript)")


class Latest(NamedTuple):
    """What `LATEST` says: a version's number, and whether it was pointed there by a rollback, not by publishing."""

    number: int
    rollback: bool = False


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A version that the trainer did not publish; `time` is in seconds since the epoch, UTC."""

    reason: str
    time: float
    epoch: int | None = None
    step: int | None = None


class Store:
    """The versions in a folder. Reading needs nothing; `publish` makes the folder when it isn't there."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    # -- reading -----------------------------------------------------------------------------------------------------

    def versions(self) -> dict[int, Path]:
        """Return the number and file of each version, oldest first."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"The store {self.folder} can't be read: {error.strerror}.") from error
        found = {int(m[1]): self.folder / name for name in names if (m := _NAME.fullmatch(name))}
        return dict(sorted(found.items()))

    def latest(self) -> Latest | None:
        """Return what `LATEST` says; where a folder has no `LATEST`, its highest number; None while it is empty."""
        try:
            lines = (self.folder / LATEST).read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            numbers = list(self.versions())
            return Latest(numbers[-1]) if numbers else None
        except OSError as error:
            raise StoreError(f"{self.folder / LATEST} can't be read: {error.strerror}.") from error
        match = _NAME.fullmatch(lines[0].strip()) if lines else None
        if match is None:
            raise StoreError(f"{self.folder / LATEST} should name a version such as 000012.onnx; it says {lines[:1]}.")
        return Latest(int(match[1]), rollback=_ROLLBACK in lines[1:])

    def path(self, number: int) -> Path:
        """Return the file of a version; raise `StoreError` if the store doesn't have it."""
        for suffix in SUFFIXES:
            path = self.folder / f"{number:06d}{suffix}"
            if path.exists():
                return path
        have = ", ".join(map(str, self.versions())) or "none"
        raise StoreError(f"{self.folder} has no version {number}; it has {have}.")

    def refusals(self) -> list[Refusal]:
        """Return what was refused, oldest first; a line that is still being written is left out."""
        try:
            lines = (self.folder / REFUSALS).read_bytes().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                found.append(msgspec.json.decode(line, type=Refusal))
        return found

    # -- writing -----------------------------------------------------------------------------------------------------

    def publish(self, write: Callable[[BinaryIO, int], None], *, suffix: str = ".onnx") -> int:
        """Write the next version and point `LATEST` to it; return its number.

        `write` gets a file opened for writing and the number it will have. If it raises, nothing is published and nothing is
        left behind. Raises `StoreError` where the folder can't be written (full, read-only).
        """
        with self._explained("written"):
            self.folder.mkdir(parents=True, exist_ok=True)
            number = self._next_number()
            name = f"{number:06d}{suffix}"
            replace_file(self.folder / name, lambda file: write(file, number))
            self._point(name)
        return number

    def rollback(self, number: int) -> None:
        """Point `LATEST` back (or forward) to a version that the store has; servers follow."""
        path = self.path(number)
        with self._explained("written"):
            self._point(f"{path.name}\n{_ROLLBACK}")

    def prune(self, keep: int) -> list[int]:
        """Delete the oldest versions beyond the `keep` newest, never the one that `LATEST` names; return their numbers."""
        versions = self.versions()
        latest = self.latest()
        gone = [n for n in list(versions)[: max(0, len(versions) - keep)] if latest is None or n != latest.number]
        with self._explained("pruned"):
            for number in gone:
                versions[number].unlink(missing_ok=True)
        return gone

    def refuse(self, reason: str, *, epoch: int | None = None, step: int | None = None) -> None:
        """Record that a version was not published, so that a server can show why."""
        refusal = Refusal(reason=reason, time=time.time(), epoch=epoch, step=step)
        with self._explained("written"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / REFUSALS).open("ab") as file:
                file.write(msgspec.json.encode(refusal) + b"\n")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store for publishing, until the block or the process ends, however it ends.

        Raises `StoreLocked` if another process holds it. Temporary files that a killed publisher left are removed.
        """
        import fcntl

        with self._explained("locked"):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("a+")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise StoreLocked(
                    f"Another process ({file.read().strip() or 'unknown'}) publishes into {self.folder}; "
                    "give this run a store of its own, for example to='runs/second'."
                ) from error
            file.truncate(0)
            file.write(f"pid {os.getpid()}")
            file.flush()
            for left in self.folder.glob(f".*{PART}"):
                left.unlink(missing_ok=True)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # closing isn't enough: workers forked meanwhile have the file open, too

    def _next_number(self) -> int:
        """One above every number ever used that can still be seen; a version's number only grows."""
        latest = self.latest()
        return max([0, *self.versions(), *([latest.number] if latest else [])]) + 1

    def _point(self, text: str) -> None:
        replace_file(self.folder / LATEST, lambda file: file.write(f"{text}\n".encode()))

    @contextlib.contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        """Turn an operating system's error into one that names the store."""
        try:
            yield
        except OSError as error:
            raise StoreError(f"The store {self.folder} can't be {done}: {error.strerror or error}.") from error
