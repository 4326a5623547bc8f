"""The store: the ordered versions of one model, in a folder or in a bucket.

    runs/flowers/
        000011.onnx  000012.onnx  000013.onnx     immutable once they have their name
        LATEST                                    names one of them; alone is ever replaced, atomically
        BEST                                      names the best by the metric that training keeps
        000012.pin                                keeps a version for as long as it is there
        refusals.jsonl                            what was not published, and why

A version is written beside its name, synced, renamed (in a bucket: uploaded, its size compared), and only then named by `LATEST` in the
same way, so that a reader, or a crash at any moment, never meets half a file.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple

import msgspec

from exportweb import artifact
from exportweb.backend import backend, place
from exportweb.card import Card
from exportweb.errors import StoreError
from exportweb.folder import Folder
from exportweb.ranking import Ranking

SUFFIXES = (".onnx", ".torchscript")
LATEST = "LATEST"
BEST = "BEST"
REFUSALS = "refusals.jsonl"
_ROLLBACK = "rollback"
_NAME = re.compile(r"(\d{6,})(\.onnx|\.torchscript)")
_PIN = re.compile(r"(\d{6,})\.pin")


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


_decode_refusal = msgspec.json.Decoder(Refusal).decode  # made here for threads, as in exportweb.card


class Store:
    """The versions in a folder, or at a URL such as ``s3://bucket/runs/flowers``. Reading needs nothing; `publish` makes the folder.

    `location` is the folder or the URL as text. Raises `StoreError` for a URL that can't be used here; all methods do where the folder or
    the bucket can't be read or written.
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self._backend = backend(place(location))
        self.location = self._backend.location
        self._written = 0  # the highest number that was written here, whether or not it is known to have arrived
        self._ranking = Ranking(self.card)
        self._best: int | None = None

    def __repr__(self) -> str:
        return f"Store({self.location!r})"

    @property
    def folder(self) -> Path:
        """The folder; raises `StoreError` for a bucket."""
        if isinstance(self._backend, Folder):
            return self._backend.path
        raise StoreError(f"{self.location} is not a folder.")

    # -- reading -----------------------------------------------------------------------------------------------------

    def versions(self) -> dict[int, PurePath]:
        """Return the number and file (in a bucket: key) of each version, oldest first."""
        return {number: self._backend.where(name) for number, name in self._listed(_NAME).items()}

    def latest(self) -> Latest | None:
        """Return what `LATEST` says; where there is no `LATEST`, the highest number; None while the store is empty."""
        try:
            lines = self._read(LATEST).decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            numbers = list(self.versions())
            return Latest(numbers[-1]) if numbers else None
        match = _NAME.fullmatch(lines[0].strip()) if lines else None
        if match is None:
            raise StoreError(f"{self.location}/{LATEST} should name a version such as 000012.onnx; it says {lines[:1]}.")
        return Latest(int(match[1]), rollback=_ROLLBACK in lines[1:])

    def pinned(self) -> set[int]:
        """Return the numbers of the versions that are pinned."""
        return set(self._listed(_PIN))

    def best(self) -> int | None:
        """Return the best version by the metric that training keeps, None if it keeps none or the version is gone."""
        try:
            match = _NAME.match(self._read(BEST).decode("utf-8", "replace"))
        except FileNotFoundError:
            return None
        return int(match[1]) if match and int(match[1]) in self.versions() else None

    def path(self, number: int) -> Path:
        """Return the file of a version; raise `StoreError` if the store doesn't have it, or is a bucket (see `download`)."""
        return self.folder / self._name(number)

    def open(self, number: int) -> BinaryIO:
        """Open a version for reading; raise `StoreError` if the store doesn't have it."""
        name = self._name(number)
        with self._explained("read"):
            return self._backend.open(name)

    def card(self, number: int) -> Card | None:
        """Read the card of a version without its graph, None if it has none.

        Raises `ArtifactError` or `CardError` if the file is no artifact that can be read.
        """
        with self._explained("read"), self.open(number) as file:
            return artifact.read_card(file, what=f"{self.location}/{number:06d}")[0]

    def download(self, number: int, folder: Path) -> Path:
        """Copy a version into a local folder, whole or not at all; return the copy's path."""
        name = self._name(number)
        with self._explained("read"):
            self._backend.fetch(name, folder / name)
        return folder / name

    def refusals(self) -> list[Refusal]:
        """Return what was refused, oldest first; a line that is still being written is left out."""
        try:
            lines = self._read(REFUSALS).splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                found.append(_decode_refusal(line))
        return found

    # -- writing -----------------------------------------------------------------------------------------------------

    def publish(self, write: Callable[[BinaryIO, int], object], *, suffix: str = ".onnx") -> int:
        """Write the next version and point `LATEST` to it; return its number.

        `write` gets a file opened for writing and the number it will have. If it raises, nothing is published and nothing is
        left behind. Raises `StoreError` where the store can't be written (full, read-only, out of reach), `StoreLocked` where another
        process has taken over the lock.
        """
        with self._explained("written"):
            self._backend.check()
            number = self._next_number()
            name = f"{number:06d}{suffix}"

            def written(file: BinaryIO) -> None:
                write(file, number)
                self._written = number  # from here on the number may be taken, even if the store fails to say so

            self._backend.add(name, written)
            self._backend.check()
            self._point(LATEST, name)
        return number

    def rollback(self, number: int) -> None:
        """Point `LATEST` back (or forward) to a version that the store has; servers follow."""
        name = self._name(number)
        with self._explained("written"):
            self._point(LATEST, f"{name}\n{_ROLLBACK}")

    def pin(self, number: int) -> None:
        """Keep a version until `unpin`; raise `StoreError` if the store doesn't have it."""
        self._name(number)
        with self._explained("written"):
            self._backend.put(_pin(number), b"")
            try:
                self._name(number)
            except StoreError:  # it was pruned meanwhile
                self._backend.delete(_pin(number))
                raise

    def unpin(self, number: int) -> None:
        """Let a pinned version go the way of the others; raise `StoreError` if it isn't pinned."""
        if number not in (pinned := self.pinned()):
            have = ", ".join(map(str, sorted(pinned))) or "none"
            raise StoreError(f"Version {number} of {self.location} isn't pinned; pinned: {have}.")
        with self._explained("written"):
            self._backend.delete(_pin(number))

    def prune(self, keep: int, *, best: str | None = None) -> list[int]:
        """Delete the versions beyond the `keep` newest; return their numbers.

        What `LATEST` names, what is pinned and what a server on this machine has loaded stays. So does the best version by the metric
        `best` in the cards, the highest; with a minus before its name (``"-loss"``) the lowest. Versions without a finite value of that
        metric don't compete.
        """
        with self._explained("pruned"):
            names = self._backend.names()
            versions, kept = _numbered(_NAME, names), set(_numbered(_PIN, names))
            if (latest := self.latest()) is not None:
                kept.add(latest.number)
            kept |= self._keep_best(best, versions, names)
            old = list(versions)[: max(0, len(versions) - keep)]
            gone = [number for number in old if number not in kept and self._backend.delete(versions[number])]
            self._ranking.forget(gone)
        return gone

    def refuse(self, reason: str, *, epoch: int | None = None, step: int | None = None) -> None:
        """Record that a version was not published, so that a server can show why."""
        line = msgspec.json.encode(Refusal(reason=reason, time=time.time(), epoch=epoch, step=step)) + b"\n"
        try:
            before = self._read(REFUSALS)
        except FileNotFoundError:
            before = b""
        with self._explained("written"):
            self._backend.put(REFUSALS, before + line)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store for publishing, until the block or the process ends, however it ends.

        Raises `StoreLocked` if another process holds it. Temporary files that a killed publisher left are removed.
        """
        with contextlib.ExitStack() as stack:
            with self._explained("locked"):
                stack.enter_context(self._backend.lock())
            yield

    def _listed(self, pattern: re.Pattern[str]) -> dict[int, str]:
        with self._explained("read"):
            return _numbered(pattern, self._backend.names())

    def _name(self, number: int) -> str:
        """Return the name of a version's file; raise `StoreError` if the store doesn't have it."""
        versions = self._listed(_NAME)
        if number not in versions:
            have = ", ".join(map(str, versions)) or "none"
            raise StoreError(f"{self.location} has no version {number}; it has {have}.")
        return versions[number]

    def _read(self, name: str) -> bytes:
        """Return what a small file holds; `FileNotFoundError` if it isn't there."""
        with self._explained("read"):
            try:
                return self._backend.read(name)
            except FileNotFoundError as error:
                missing = error
        raise missing

    def _next_number(self) -> int:
        """One above every number ever used that can still be seen; a version's number only grows."""
        latest = self.latest()
        return max([self._written, *self.versions(), *([latest.number] if latest else [])]) + 1

    def _point(self, pointer: str, text: str) -> None:
        self._backend.put(pointer, f"{text}\n".encode())

    def _keep_best(self, metric: str | None, versions: Mapping[int, str], names: Iterable[str]) -> set[int]:
        """Find the best version and have `BEST` name it; without a metric, have no `BEST`."""
        if metric is None:
            if BEST in names:
                self._backend.delete(BEST)
            return set()
        found = self._ranking.best(metric, versions)
        if found is None:
            return set()
        if found != self._best:
            self._point(BEST, f"{versions[found]}\n{metric}")
            self._best = found
        return {found}

    @contextlib.contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        """Turn an operating system's error, or a bucket's, into one that names the store."""
        try:
            yield
        except OSError as error:
            raise StoreError(f"The store {self.location} can't be {done}: {error.strerror or error or type(error).__name__}.") from error


def _numbered(pattern: re.Pattern[str], names: Iterable[str]) -> dict[int, str]:
    """Return the names that fit a pattern by the number in them, the lowest first."""
    return dict(sorted((int(match[1]), name) for name in names if (match := pattern.fullmatch(name))))


def _pin(number: int) -> str:
    return f"{number:06d}.pin"
