"""A store in a bucket, as the builder sees it: asked every few seconds, and what should serve is downloaded to a folder of its own."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from exportweb.card import Card
from exportweb.errors import ArtifactError, CardError, StoreError
from exportweb.runtime import watch
from exportweb.runtime.sources import Candidate, fingerprint
from exportweb.store import Latest, Refusal, Store

log = logging.getLogger(__name__)


class BucketSource:
    """The versions at a URL, as they were when `changes` last yielded; the last `keep` that were to serve stay downloaded.

    A bucket that is out of reach changes nothing: what was seen last stays, and one line in the log says so. Raises `StoreError` for a
    URL that can't be used here.
    """

    def __init__(self, url: str, *, keep: int = 1) -> None:
        self._store = Store(url)
        self._keep = keep
        self._kept: list[Path] = []
        self._downloads = tempfile.TemporaryDirectory(prefix="exportweb-")
        self._latest: Latest | None = None
        self._versions: list[int] = []
        self._refusals: list[Refusal] = []
        self._candidate: Candidate | None = None
        self._broken: dict[int, Exception] = {}  # versions never change: what can't be read isn't asked for at every look
        self._trouble = False

    def changes(self, stop: threading.Event) -> Iterator[None]:
        """Look every `watch.POLL` seconds; yield if the bucket answers."""
        while not stop.is_set():
            if self._look():
                yield
            stop.wait(watch.POLL)

    def candidate(self) -> Candidate | None:
        """Return the version that `LATEST` names, downloaded; the one before while it can't be."""
        found = None if self._latest is None else self.version(self._latest.number)
        if self._latest is None or found is None:
            return self._candidate
        if self._trouble:
            log.info("%s answers again.", self._store.location)
            self._trouble = False
        self._candidate = found._replace(rollback=self._latest.rollback)
        self._kept = [*(path for path in self._kept if path != found.path), found.path][-self._keep :]
        self._delete_all_but(*self._kept)
        return self._candidate

    def versions(self) -> list[int]:
        """Return the store's versions."""
        return self._versions

    def version(self, number: int) -> Candidate | None:
        """Return a version, downloaded; None while it can't be."""
        folder = Path(self._downloads.name)
        path = next(folder.glob(f"{number:06d}.*"), None)
        if path is None:
            try:
                path = self._store.download(number, folder)
            except StoreError as error:
                self._complain(error)
                return None
            if self._candidate is not None:
                self._delete_all_but(path, *self._kept)
        return Candidate(path, number, False, fingerprint(path))

    def card(self, number: int) -> Card | None:
        """Read a version's card."""
        if number in self._broken:
            raise self._broken[number]
        try:
            return self._store.card(number)
        except (ArtifactError, CardError) as error:
            self._broken[number] = error
            raise

    def refusals(self) -> list[Refusal]:
        """Return the store's refusals."""
        return self._refusals

    def close(self) -> None:
        """Delete what was downloaded."""
        self._downloads.cleanup()

    def _look(self) -> bool:
        """Ask the bucket for everything; return False, and keep what was seen last, if it doesn't answer."""
        try:
            self._versions = list(self._store.versions())
            self._refusals = self._store.refusals()
            self._latest = self._store.latest()
        except StoreError as error:
            self._complain(error)
            return False
        return True

    def _complain(self, error: StoreError) -> None:
        """Say what is wrong, once while it goes on."""
        if not self._trouble:
            log.warning("%s Nothing changes until it answers.", error)
        self._trouble = True

    def _delete_all_but(self, *paths: Path) -> None:
        for path in Path(self._downloads.name).iterdir():
            if path not in paths:
                path.unlink(missing_ok=True)
