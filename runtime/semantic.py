"""Which class each pixel of the picture belongs to: scores of a small map, resized and compared.

A pixel's scores are a weighted mean of those of four neighbours on the map. Where one class is the best of all four it is the best in
between, so that only the pixels along the edges of regions have to be computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exportweb.runtime.bilinear import Taps
from exportweb.runtime.frame import Frame
from exportweb.runtime.masks import frame_taps

_SCORES = 1 << 22
"""Scores that are computed at once: all of a large picture with many classes would be gigabytes."""


def classes(scores: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Return [height, width] of the upright picture: the best class of each pixel, for scores [C, h, w] over the graph's input."""
    rows, columns = frame_taps(scores.shape, frame)
    pixels = np.ascontiguousarray(np.moveaxis(scores, 0, -1), np.float32)
    best = pixels.argmax(axis=-1).astype(np.min_scalar_type(len(scores)))
    found: NDArray[Any] = best[rows.low][:, columns.low]
    edge = found != best[rows.low][:, columns.high]
    lower = best[rows.high]
    edge |= found != lower[:, columns.low]
    edge |= found != lower[:, columns.high]
    y, x = np.nonzero(edge)
    step = max(_SCORES // len(scores), 1)
    for start in range(0, len(y), step):
        some = slice(start, start + step)
        found[y[some], x[some]] = _interpolated(pixels, rows, columns, y[some], x[some]).argmax(axis=-1)
    return found


def _interpolated(pixels: NDArray[np.float32], rows: Taps, columns: Taps, y: NDArray[Any], x: NDArray[Any]) -> NDArray[np.float32]:
    """Return [P, C], the scores of P pixels of the picture, in PyTorch's order of operations."""
    left, right = columns.low_weight[x][:, None], columns.high_weight[x][:, None]
    low, high = (pixels[side[y], columns.low[x]] * left + pixels[side[y], columns.high[x]] * right for side in (rows.low, rows.high))
    mixed: NDArray[np.float32] = low * rows.low_weight[y][:, None] + high * rows.high_weight[y][:, None]
    return mixed
