"""Overlaps of boxes: the intersection over the union of their areas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]


def corners(boxes: Sequence[Sequence[float]]) -> Boxes:
    """Return float64 [D, 4] of x0, y0, x1, y1 for boxes given as COCO has them: x0, y0, width, height."""
    given = np.array(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], axis=1)


def overlaps(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """Return float64 [D, E], 0 to 1, for boxes [D, 4] and [E, 4] of x0, y0, x1, y1."""
    low, high = np.maximum(one[:, None, :2], other[None, :, :2]), np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    found: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found
