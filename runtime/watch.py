"""Watching a folder for changes: the operating system's notifications, with a slow poll as a safety net.

Notifications can be lost (network file systems, a folder that is removed and made again), so whoever listens is also called
every `POLL` seconds and looks for itself; looking is a few system calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import watchfiles

POLL = 2.0
"""Seconds between two looks when nothing is notified."""

_MISSING = 0.25  # seconds between two looks for a folder that isn't there yet
_STEP = 50  # milliseconds: changes closer together than this are one
_DEBOUNCE = 200  # milliseconds after which changes are told of, even if more keep coming (a version being written)


def changes(folder: Path, concerns: Callable[[str], bool], stop: threading.Event) -> Iterator[None]:
    """Yield at once, then after each change of a file in `folder` whose name `concerns` accepts, and every `POLL` seconds.

    The folder may be made later, and may be removed and made again. Ends within a moment after `stop` is set.
    """
    yield
    while not stop.is_set():
        identity = _identity(folder)
        if identity is None:
            stop.wait(_MISSING)
            if _identity(folder) is not None:
                yield
            continue
        try:
            yield from _notified(folder, identity, concerns, stop)
        except (OSError, RuntimeError):  # the folder went away just now, or the system has no watches left: poll
            stop.wait(_MISSING)
            yield


def _notified(folder: Path, identity: tuple[int, int], concerns: Callable[[str], bool], stop: threading.Event) -> Iterator[None]:
    """Yield on notifications and time-outs until the folder is another one."""
    watcher = watchfiles.watch(
        folder,
        watch_filter=lambda _, path: concerns(Path(path).name),
        debounce=_DEBOUNCE,
        step=_STEP,
        stop_event=stop,
        rust_timeout=int(POLL * 1000),
        yield_on_timeout=True,
        raise_interrupt=False,
        recursive=False,
    )
    for _ in watcher:
        yield
        if _identity(folder) != identity:
            return


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another of the same name, None if it isn't there."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
