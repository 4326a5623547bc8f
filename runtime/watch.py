"""Watching a folder for changes: the operating system's notifications, with a slow poll as a safety net.

Notifications can be lost (network file systems, a folder that is removed and made again), so whoever listens is also called
every `POLL` seconds and looks for itself; looking is a few system calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from watchfiles._rust_notify import RustNotify  # documented: watchfiles.helpmanual.io/api/rust_backend

POLL = 2.0
"""Seconds between two looks when nothing is notified."""

_MISSING = 0.25  # seconds between two looks for a folder that isn't there yet
_STEP = 50  # milliseconds: changes closer together than this are one
_DEBOUNCE = 200  # milliseconds after which changes are told of, even if more keep coming (a version being written)


def changes(folder: Path, concerns: Callable[[str], bool], stop: threading.Event) -> Iterator[None]:
    """Yield at once, then after each change of a file in `folder` whose name `concerns` accepts, and every `POLL` seconds.

    What changes while the caller is busy is told of afterwards. The folder may be made later, and may be removed and made again.
    Ends within a moment after `stop` is set.
    """
    missing = False
    while not stop.is_set():
        identity = _identity(folder)
        if identity is None:
            if not missing:
                yield
            missing = True
            stop.wait(_MISSING)
            continue
        missing = False
        try:
            yield from _notified(folder, identity, concerns, stop)
        except FileNotFoundError:  # it went away just now
            continue
        except (OSError, RuntimeError):  # the system has no watches left: poll
            yield
            stop.wait(POLL)


def _notified(folder: Path, identity: tuple[int, int], concerns: Callable[[str], bool], stop: threading.Event) -> Iterator[None]:
    """Yield once it listens, then on notifications and time-outs, until the folder is another one."""
    # `watchfiles.watch` would begin to listen only when the first change is waited for: too late for what happens before.
    with RustNotify([str(folder)], False, False, 0, recursive=False, ignore_permission_denied=True) as listening:
        yield
        while _identity(folder) == identity:
            found = listening.watch(_DEBOUNCE, _STEP, int(POLL * 1000), stop)
            if found == "stop":
                return
            if isinstance(found, str) or any(concerns(Path(path).name) for _, path in found):
                yield


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another of the same name, None if it isn't there."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
