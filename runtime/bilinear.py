"""Bilinear sampling of arrays, with the arithmetic of PyTorch's `interpolate` and `grid_sample` (``align_corners=False``)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float32]


class Taps(NamedTuple):
    """For each sample along an axis, the two neighbours that it is made of, and their weights: four arrays of one length."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    low_weight: Floats
    high_weight: Floats

    def part(self, start: int, stop: int) -> Taps:
        """Return the samples from `start` to `stop`."""
        return Taps(self.low[start:stop], self.high[start:stop], self.low_weight[start:stop], self.high_weight[start:stop])


def resized(count: int, size: int, start: float = 0.0, stop: float | None = None) -> Taps:
    """Return the taps that resize what lies from `start` to `stop` of an axis of `size` values (all of it by default) to `count`.

    Nothing beyond that part is looked at: at its ends the outermost values go on.
    """
    stop = size if stop is None else stop
    scale, half = np.float32((stop - start) / count), np.float32(0.5)
    at = scale * (np.arange(count, dtype=np.float32) + half) - half + np.float32(start)
    first, last = max(start, 0.0), min(stop, float(size)) - 1
    at = np.clip(at, first, max(first, last)).astype(np.float32, copy=False)
    low = np.minimum(at.astype(np.int64), size - 1)
    weight = at - low.astype(np.float32)
    return Taps(low, np.minimum(low + 1, size - 1), 1 - weight, weight)


def placed(at: Floats, size: int) -> Taps:
    """Return the taps of samples at these places of an axis of `size` values, whose centres are 0, 1, ...; beyond its ends lie zeros."""
    floor = np.floor(at)
    weight = (at - floor).astype(np.float32, copy=False)
    low = np.clip(floor, -2, size).astype(np.int64)
    high = low + 1
    inside = [(index >= 0) & (index < size) for index in (low, high)]
    return Taps(
        np.where(inside[0], low, 0), np.where(inside[1], high, 0), np.where(inside[0], 1 - weight, 0), np.where(inside[1], weight, 0)
    )


def sample(array: Array, rows: Taps, columns: Taps) -> Floats:
    """Return float32 [..., len(rows), len(columns)] from [..., height, width]."""
    values = array.astype(np.float32, copy=False)
    across = values[..., columns.low] * columns.low_weight
    across += values[..., columns.high] * columns.high_weight
    low, high = rows.low_weight[:, None], rows.high_weight[:, None]
    out: Floats = across[..., rows.low, :]
    out *= low
    upper = across[..., rows.high, :]
    upper *= high
    out += upper
    return out
