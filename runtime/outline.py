"""Outlines of masks, as polygons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def outline(bits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the outline of the largest part of a mask [height, width]: int64 [P, 2], x and y of its corners, clockwise, along the edges of
    pixels. Pixels that touch at a corner only are of different parts; holes are left out. [0, 2] for a mask without pixels.
    """
    best, most = np.zeros((0, 2), np.int64), 0
    following = _edges(bits)
    while following:
        points = _loop(following)
        x, y = points[:, 0], points[:, 1]
        area = int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())  # twice its area; that of a hole is below zero
        if area > most:
            best, most = points, area
    return best


def _edges(bits: NDArray[np.bool_]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return where one goes on from each corner, with the mask on the right: to the next corner, or to one of two."""
    padded = np.pad(bits, 1)
    inside = padded[1:-1, 1:-1]
    neighbours = (  # the pixel beside, then where the edge between begins and ends, from the pixel's upper left corner
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for beside, start, end in neighbours:
        y, x = np.nonzero(inside & ~beside)
        for at, to in zip(zip(x + start[0], y + start[1], strict=True), zip(x + end[0], y + end[1], strict=True), strict=True):
            following.setdefault((int(at[0]), int(at[1])), []).append((int(to[0]), int(to[1])))
    return following


def _loop(following: dict[tuple[int, int], list[tuple[int, int]]]) -> NDArray[np.int64]:
    """Take one closed outline out of the edges; return its corners, without those on straight lines."""
    at = start = next(iter(following))  # of what is left, the first pixel in the highest row: a corner of its part
    corners: list[tuple[int, int]] = []
    step = (0, 0)
    while at in following:
        choices = following[at]
        right = at[0] - step[1], at[1] + step[0]  # where two pixels touch at their corners, stay at this one
        to = right if right in choices else choices[0]
        choices.remove(to)
        if not choices:
            del following[at]
        new = to[0] - at[0], to[1] - at[1]
        if new != step:
            corners.append(at)
        at, step = to, new
        if at == start:
            break
    return np.array(corners, np.int64)
