"""Keypoints from heatmaps, as detectron2's `heatmaps_to_keypoints` decodes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_A = -0.75  # of the cubic kernel, as in PyTorch and OpenCV


def decode(heatmaps: NDArray[Any], box: Floats) -> Floats:
    """Return float32 [K, 3]: x, y and score of each point of one object.

    `heatmaps` are logits [K, S, S] inside `box`, x0, y0, x1, y1, in whose pixels x and y are. Each is resized to the box, in whole pixels
    and bicubically; its largest value is the point, and the softmax there, over the heatmap as it was, the score.
    """
    sides = np.maximum(box[2:] - box[:2], np.float32(1))
    whole = np.ceil(sides)
    maps = heatmaps.astype(np.float32, copy=False)
    width, height = int(whole[0]), int(whole[1])
    across, down = cubic(width, maps.shape[2]), cubic(height, maps.shape[1])
    points = np.empty((len(maps), 3), np.float32)
    for i, heatmap in enumerate(maps):  # one by one: a large box has a million pixels
        large = down @ heatmap @ across.T
        at = int(large.argmax())
        y, x = divmod(at, width)
        points[i, :2] = (np.array([x, y], np.float32) + np.float32(0.5)) * (sides / whole) + box[:2]
        points[i, 2] = 1 / np.exp(heatmap - large[y, x]).sum()
    return points


def cubic(count: int, size: int) -> Floats:
    """Return float32 [count, size]: the matrix that resizes an axis of `size` values to `count`, as PyTorch's bicubic `interpolate`."""
    at = np.float32(size / count) * (np.arange(count, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    floor = np.floor(at)
    t = (at - floor).astype(np.float64)
    weights = np.stack([_far(t + 1), _near(t), _near(1 - t), _far(2 - t)], axis=1)
    places = np.clip(floor.astype(np.int64)[:, None] + np.arange(-1, 3), 0, size - 1)
    matrix = np.zeros((count, size), np.float32)
    np.add.at(matrix, (np.arange(count)[:, None], places), weights.astype(np.float32))
    return matrix


def _near(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return ((_A + 2) * x - (_A + 3)) * x * x + 1


def _far(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
