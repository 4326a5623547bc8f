from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.measure

from exportweb.runtime.outline import outline


def filled(polygon: Any, shape: tuple[int, int]) -> Any:
    """The pixels whose centres lie inside a polygon."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return skimage.measure.points_in_poly(np.stack([columns.ravel(), rows.ravel()], axis=1), polygon).reshape(shape)


def test_corners_clockwise() -> None:
    bits = np.zeros((6, 8), bool)
    bits[2:4, 3:7] = True
    assert outline(bits).tolist() == [[3, 2], [7, 2], [7, 4], [3, 4]]
    bits[3, 3:5] = False
    assert outline(bits).tolist() == [[3, 2], [7, 2], [7, 4], [5, 4], [5, 3], [3, 3]]
    assert outline(np.ones((1, 1), bool)).tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert outline(np.zeros((3, 3), bool)).shape == (0, 2)


def test_holes_are_left_out_and_parts_that_touch_at_a_corner_are_two() -> None:
    ring = np.ones((5, 5), bool)
    ring[1:4, 1:4] = False
    ring[2, 2] = True
    assert outline(ring).tolist() == [[0, 0], [5, 0], [5, 5], [0, 5]]
    touching = np.zeros((5, 5), bool)
    touching[:2, :2] = touching[2:, 2:] = True
    assert outline(touching).tolist() == [[2, 2], [5, 2], [5, 5], [2, 5]]


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_part_without_its_holes(seed: int) -> None:
    bits = np.random.default_rng(seed).uniform(size=(30, 40)) > 0.35
    parts = skimage.measure.label(bits, connectivity=1)
    closed = [filled(outline(parts == number), bits.shape) for number in range(1, parts.max() + 1)]
    largest = max(closed, key=np.count_nonzero)
    assert np.array_equal(filled(outline(bits), bits.shape), largest)
    for number, one in enumerate(closed, start=1):
        assert one[parts == number].all()
