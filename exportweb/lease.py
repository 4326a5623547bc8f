"""The lock of a bucket: a `.lock` object that one trainer makes and keeps renewing.

A bucket knows nothing of processes, so a lock is a promise with a date: it is free when its holder lets go, is known to be dead, or
has not renewed it for `STALE` seconds. Who finds somebody else's name on it stops.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Protocol

import msgspec

from exportweb.errors import StoreLocked

log = logging.getLogger("exportweb")

LOCK = ".lock"

BEAT = 10.0
"""Seconds between two renewals."""

STALE = 60.0
"""Seconds without a renewal after which a lock is free."""

_SETTLED = 1.0  # seconds after which two that took over the same lock can tell which of them was the last


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock, and when it was renewed (seconds since the epoch, by the holder's clock).

    `machine` is where `pid` means a process: a host since it was booted, or one container.
    """

    id: str
    host: str
    machine: str
    pid: int
    renewed: float


_decode_owner = msgspec.json.Decoder(Owner).decode  # made here for threads, as in exportweb.card


class Files(Protocol):
    """What a lease needs of a bucket. Methods raise `OSError`."""

    location: str

    def read(self, name: str) -> bytes:
        """Return what a file holds; raise `FileNotFoundError` if it isn't there."""

    def create(self, name: str, data: bytes) -> None:
        """Make a file; raise `FileExistsError` if it is there."""

    def put(self, name: str, data: bytes) -> None:
        """Make or replace a file."""

    def delete(self, name: str) -> bool:
        """Delete a file."""


class Lease:
    """The lock as one process sees it: `acquire`, then `check` before each change, then `release`."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._id = secrets.token_hex(8)
        self._stop = threading.Event()
        self._reachable = True  # when it was last asked
        self._thread = threading.Thread(target=self._renew, name="exportweb-lease", daemon=True)

    def acquire(self) -> None:
        """Take the lock, over a holder that is gone if need be, and keep it; raise `StoreLocked` if another process holds it."""
        try:
            self._files.create(LOCK, self._mine())
        except FileExistsError:
            self._take_over()
        self._thread.start()

    def check(self) -> None:
        """Raise `StoreLocked` if another process has the lock now."""
        holder = self._holder()
        if holder is not None and holder.id != self._id:
            raise StoreLocked(
                f"{self._files.location} was taken over by another process ({_text(holder)}), since this one did not renew its lock for "
                f"{STALE:.0f} s; nothing more is published from here."
            )

    def release(self) -> None:
        """Let go. A lock that can't be deleted now is free when it is stale."""
        self._stop.set()
        self._thread.join()
        if self._reachable:  # else the process would end a minute later for nothing
            with contextlib.suppress(OSError, StoreLocked):
                self.check()
                self._files.delete(LOCK)

    def _renew(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                self.check()
                self._files.put(LOCK, self._mine())
            except StoreLocked as error:
                log.error("exportweb: %s", error)
                return
            except OSError as error:
                log.debug("The lock of %s was not renewed: %s", self._files.location, error)

    def _take_over(self) -> None:
        """Put this process's name on a lock if its holder is gone."""
        holder = self._holder()
        if holder is not None and self._is_alive(holder):
            raise StoreLocked(
                f"Another process ({_text(holder)}) publishes into {self._files.location}; give this run a store of its own, for example "
                f"to='{self._files.location}-2'. If that process is gone, its lock is free {STALE:.0f} s after it ended."
            )
        if holder is not None:
            log.warning("exportweb: the lock of %s is taken over from a process that is gone (%s)", self._files.location, _text(holder))
        self._files.put(LOCK, self._mine())
        time.sleep(_SETTLED)
        self.check()

    def _is_alive(self, holder: Owner) -> bool:
        """Whether a holder still renews its lock. One that seems not to, by clocks that may disagree, is watched for a beat."""
        if holder.machine and holder.machine == _machine() and not Path(f"/proc/{holder.pid}").exists():
            return False
        if abs(time.time() - holder.renewed) < STALE:
            return True
        log.info("exportweb: waiting %.0f s to see whether %s still renews its lock of %s", 1.5 * BEAT, _text(holder), self._files.location)
        time.sleep(1.5 * BEAT)
        return self._holder() not in (holder, None)

    def _holder(self) -> Owner | None:
        """Return whose name is on the lock; None if nobody's is, or nobody's that can be read."""
        try:
            data = self._files.read(LOCK)
        except FileNotFoundError:
            data = b""
        except OSError:
            self._reachable = False
            raise
        self._reachable = True
        with contextlib.suppress(msgspec.DecodeError):
            return _decode_owner(data)
        return None

    def _mine(self) -> bytes:
        owner = Owner(id=self._id, host=socket.gethostname(), machine=_machine(), pid=os.getpid(), renewed=time.time())
        return msgspec.json.encode(owner)


def _machine() -> str:
    """Return what tells the processes that this one can see from all others; nothing where the system doesn't say."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _text(owner: Owner) -> str:
    return f"pid {owner.pid} on {owner.host}"
