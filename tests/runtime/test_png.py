from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from exportweb.runtime.png import grey


@pytest.mark.parametrize(
    ("left", "top", "shape", "size"),
    [
        (0, 0, (1, 1), (1, 1)),
        (3, 2, (5, 4), (20, 15)),
        (0, 0, (15, 20), (20, 15)),
        (19, 14, (1, 1), (20, 15)),
        (700, 1001, (130, 40), (1280, 1999)),
        (5, 7, (0, 0), (9, 11)),
    ],
)
def test_pillow_reads_what_was_written(left: int, top: int, shape: tuple[int, int], size: tuple[int, int]) -> None:
    window = np.random.default_rng(0).uniform(size=shape) > 0.5
    expected = np.zeros(size[::-1], np.uint8)
    expected[top : top + shape[0], left : left + shape[1]] = window * 255
    data = grey(window, left, top, size)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", size)
        assert np.array_equal(np.asarray(image), expected)


def test_nothing_is_small() -> None:
    """Twelve million pixels of which a few are set."""
    assert len(grey(np.ones((3, 3), bool), 1000, 1000, (4000, 3000))) < 15_000
