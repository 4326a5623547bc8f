"""How much of a busy machine the versions may take from the training: a sixtieth of a core, by the time that lies between them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_SHARE = 1 / 60  # of one core
_SMALL = 0.04  # seconds of a core: a version that needed no more has the next one follow at once
_PATIENCE = 30.0  # seconds between the beginnings of two versions, at most


class Pace:
    """Leaves the training alone between two versions where it wants every core, so that together they have their share and no more.

    A step of training that is spread over all cores is over when its slowest part is: while a version has one core, the others wait. So it
    had better be written quickly, on two cores at once, than bit by bit, and what it costs is bounded by how often that is.
    """

    def __init__(self) -> None:
        self._next = 0.0

    @contextlib.contextmanager
    def version(self, threads: Iterable[int]) -> Iterator[None]:
        """Note what these threads of this process (their native ids) have of the machine while they write a version."""
        threads = list(threads)
        start, before = time.monotonic(), ran_and_waited(threads)
        try:
            yield
        finally:
            ran, waited = (now - then for now, then in zip(ran_and_waited(threads), before, strict=True))
            self._next = start + min(ran / _SHARE, _PATIENCE) if waited > ran > _SMALL else 0.0

    def rest(self) -> float:
        """Return for how many more seconds the next version should wait."""
        return max(0.0, self._next - time.monotonic())


def ran_and_waited(threads: Iterable[int]) -> tuple[float, float]:
    """Return how long threads have run, and waited for a core, in seconds; nothing where the system (not Linux) doesn't say."""
    ran = waited = 0
    for thread in threads:
        with contextlib.suppress(OSError):
            times = Path(f"/proc/self/task/{thread}/schedstat").read_text().split()
            ran, waited = ran + int(times[0]), waited + int(times[1])
    return ran / 1e9, waited / 1e9
