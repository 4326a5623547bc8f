"""Slots: places in a memory that two processes share, for arrays that one of them writes and the other reads."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_ALIGNED = 64  # bytes: a cache line


class Placed(msgspec.Struct, array_like=True, frozen=True):
    """An array in a memory."""

    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Slots:
    """Writes arrays into the first places of a memory that are free and large enough: what was used last is used next, from warm caches."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._taken: list[tuple[int, int]] = []  # start and end, ascending

    def place(self, arrays: Mapping[str, Array]) -> dict[str, Placed] | None:
        """Write arrays; None if they don't fit now."""
        placed: dict[str, Placed] = {}
        for name, array in arrays.items():
            start = self._take(array.nbytes)
            if start is None:
                self.free(placed)
                return None
            np.ndarray(array.shape, array.dtype, buffer=self._memory, offset=start)[...] = array
            placed[name] = Placed(array.dtype.str, array.shape, start)
        return placed

    def free(self, placed: Mapping[str, Placed]) -> None:
        """Let places be used again."""
        gone = {one.start for one in placed.values()}
        self._taken = [span for span in self._taken if span[0] not in gone]

    def _take(self, size: int) -> int | None:
        before = 0
        for i, (start, end) in enumerate([*self._taken, (len(self._memory), 0)]):
            if before + max(size, 1) <= start:
                self._taken.insert(i, (before, before + max(size, 1)))
                return before
            before = -(-end // _ALIGNED) * _ALIGNED
        return None


def look(memory: mmap.mmap, placed: Mapping[str, Placed]) -> dict[str, Array]:
    """Return arrays as they lie in a memory, without a copy; raise `ValueError` or `TypeError` for what can't lie there."""
    return {name: np.ndarray(one.shape, _dtype(one.dtype), buffer=memory, offset=one.start) for name, one in placed.items()}


def _dtype(name: str) -> np.dtype[np.generic]:
    dtype = np.dtype(name)
    if dtype.hasobject:
        raise TypeError(f"{name!r} are pointers, which mean nothing in another process.")
    return dtype
