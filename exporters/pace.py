"""How much of a busy machine a version may take from the training: half a hundredth of a core, for half a minute at most."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

T = TypeVar("T")

_SHARE = 0.005  # of one core: a third of what Linux leaves to a thread of the lowest priority
_FREE = 0.04  # seconds of a core: a version that follows one that needed no more is small, and not held back before it has had as much
_PATIENCE = 30.0  # seconds after which a version is held back no more
_WINDOW = 0.008  # seconds on a core, two ticks: after fewer, nobody knows whether it was free


class Pace:
    """Holds the calling thread back where others want its core, so that it has its share and no more; where a core is free, not at all.

    A step of training that is spread over all cores is over when its slowest part is, so what one core loses the whole step does, and
    again what it then has to fetch anew into its caches. A version that is held back comes later, for which nobody waits; setting `hurry`
    is for when somebody does. `begin` is for each version.
    """

    def __init__(self, hurry: threading.Event) -> None:
        self._hurry = hurry
        self._needed = 0.0  # seconds on a core
        self.begin()

    def begin(self) -> None:
        """Begin with the next version."""
        self._free = _FREE if self._needed <= _FREE else 0.0
        self._needed = self._ran = self._took = 0.0  # of these, on a core that others wanted, and that with all the waiting
        self._end = time.monotonic() + _PATIENCE
        self._looked, self._before = time.thread_time(), ran_and_waited()

    def rest(self) -> None:
        """Wait until what was done since the last time is no more than the share."""
        if time.thread_time() < self._looked + _WINDOW:
            return
        ran, waited = (now - then for now, then in zip(ran_and_waited(), self._before, strict=True))
        self._needed += ran
        if waited > ran:
            self._ran += ran
            self._took += ran + waited
            pause = min(self._ran / _SHARE - self._took, self._end - time.monotonic())
            if self._ran > self._free and pause > 0:
                self._hurry.wait(pause)
                self._took += pause
        self._looked, self._before = time.thread_time(), ran_and_waited()

    def each(self, chunks: Iterable[T]) -> Iterator[T]:
        """Yield the same, with a rest wherever it is time."""
        for chunk in chunks:
            self.rest()
            yield chunk

    @contextlib.contextmanager
    def within(self, module: nn.Module) -> Iterator[None]:
        """Let a module that is called have its rests between its parts."""
        parts = [part for part in module.modules() if not isinstance(part, torch.jit.ScriptModule)]
        hooks = [part.register_forward_pre_hook(lambda *_: self.rest()) for part in parts]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def ran_and_waited() -> tuple[float, float]:
    """Return how long the calling thread has run, and waited for a core, in seconds; nothing where the system (not Linux) doesn't say."""
    try:
        ran, waited, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except OSError:
        return 0.0, 0.0
    return int(ran) / 1e9, int(waited) / 1e9
