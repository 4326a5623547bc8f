"""Boxes: x0, y0, x1, y1 in pixels, float32 [D, 4]. From the graph's input to the upright picture, and without those that overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exportweb.runtime.frame import Frame

Boxes = NDArray[np.float32]

MOST = 300
"""Boxes that are kept of a picture, and ..."""

CANDIDATES = 30_000
"""... of how many, the best, they are chosen; both as in Ultralytics."""


def upright(points: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """Return places in the upright picture for float32 [..., 2], x and y, in the graph's input."""
    corner, scale = np.array([frame.left, frame.top], np.float32), np.array(frame.scale, np.float32)
    moved: NDArray[np.float32] = (points + corner) * scale
    return moved


def clipped(boxes: Boxes, size: tuple[int, int]) -> Boxes:
    """Return boxes cut to a picture of `size` (width, height)."""
    return np.clip(boxes, np.float32(0), np.tile(np.array(size, np.float32), 2))


def not_empty(boxes: Boxes) -> NDArray[np.bool_]:
    """Return bool [D]: whether a box has any width and height."""
    filled: NDArray[np.bool_] = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return filled


def corners(centred: Boxes) -> Boxes:
    """Return boxes that were given as centre x, centre y, width, height."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)


def suppress(boxes: Boxes, scores: NDArray[Any], classes: NDArray[Any], *, overlap: float, most: int = MOST) -> NDArray[np.int64]:
    """Return the places of the boxes that stay, best first, at most `most`: none overlaps a better one of its class by more than
    `overlap`, as intersection over union.
    """
    order = np.argsort(-scores, kind="stable")[:CANDIDATES]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[np.int64] = []
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        union = areas[best] + areas[rest] - shared
        order = rest[(shared <= np.float32(overlap) * union) | (classes[rest] != classes[best])]
    return np.array(kept, np.int64)
