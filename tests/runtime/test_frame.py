"""Where a picture lies in the graph's input: the sizes that the libraries compute, and the way back."""

from __future__ import annotations

from typing import Any

import pytest

from exportweb.card import ImageInput
from exportweb.runtime.frame import frame, resized_size

SIZES = [
    (640, 480),
    (480, 640),
    (500, 375),
    (333, 500),
    (1, 1),
    (7, 5),
    (1333, 800),
    (800, 1333),
    (4000, 100),
    (100, 4000),
    (799, 1333),
    (3, 9999),
]


def described(**changes: Any) -> ImageInput:
    settings: dict[str, Any] = {"height": 0, "width": 0, "resize_height": 800, "resize_width": 800, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    return ImageInput(**{**settings, **changes})


def detectron2(height: int, width: int, edge: int, most: int) -> tuple[int, int]:
    """What the code of detectron2 0.6, `ResizeShortestEdge.get_output_shape`, gave for these; see below for where it is installed."""
    transforms = pytest.importorskip("detectron2.data.transforms")
    size: tuple[int, int] = transforms.ResizeShortestEdge.get_output_shape(height, width, edge, most)
    return size


@pytest.mark.parametrize(("edge", "most"), [(800, 1333), (64, 100), (33, 33), (600, 1000)])
def test_bounded_is_detectron2s(edge: int, most: int) -> None:
    input = described(resize="bounded", resize_height=edge, resize_width=edge, resize_max=most)
    for width, height in SIZES[:-3]:
        assert resized_size(input, width, height)[::-1] == detectron2(height, width, edge, most), (width, height)


def test_bounded_adds_a_half_where_shortest_truncates() -> None:
    # 500 x 333 at shortest edge 100 is 150.15, 499 x 333 149.85 pixels long; detectron2 0.6 says 150 of both.
    bounded, shortest = (
        described(resize=resize, resize_height=100, resize_width=100, resize_max=200) for resize in ("bounded", "shortest")
    )
    assert [resized_size(bounded, width, 333) for width in (500, 499)] == [(150, 100), (150, 100)]
    assert [resized_size(shortest, width, 333) for width in (500, 499)] == [(150, 100), (149, 100)]
    # Longest edge: 1000 x 300 would be 333 x 100; at most 200 x 60.
    assert resized_size(bounded, 1000, 300) == resized_size(shortest, 1000, 300) == (200, 60)
    assert resized_size(described(resize="bounded", resize_height=100, resize_width=100), 1000, 300) == (333, 100)


@pytest.mark.parametrize(("edge", "most"), [(800, 1333), (64, 100), (33, 34), (600, 1000)])
def test_shortest_with_a_bound_is_detrs(edge: int, most: int) -> None:
    transforms = pytest.importorskip("transformers.image_transforms")
    input = described(resize="shortest", resize_height=edge, resize_width=edge, resize_max=most)
    for width, height in SIZES[:-3]:
        expected = transforms.get_size_with_aspect_ratio((height, width), edge, most)
        assert resized_size(input, width, height)[::-1] == expected, (width, height)


def test_no_side_is_resized_to_nothing() -> None:
    for resize in ("bounded", "shortest", "contain"):
        input = described(resize=resize, resize_height=80, resize_width=80, resize_max=100)
        assert min(resized_size(input, 3, 9999)) == min(resized_size(input, 9999, 3)) == 1


def test_any_size_is_neither_cropped_nor_padded() -> None:
    found = frame(described(resize="bounded", resize_height=100, resize_width=100, resize_max=120), 600, 300)
    assert found.resized == found.window == (120, 60)
    assert (found.left, found.top, found.scale) == (0, 0, (5, 5))
    assert frame(described(resize="none"), 31, 17).window == (31, 17)


def test_where_the_picture_lies_in_a_letterbox_and_in_a_crop() -> None:
    box = frame(described(height=640, width=640, resize="contain", resize_height=640, resize_width=640), 1280, 481)
    assert (box.resized, box.left, box.top) == ((640, 240), 0, -200)
    assert box.scale == (2, 481 / 240)
    crop = frame(described(height=100, width=100, resize_height=200, resize_width=200), 400, 200)
    assert (crop.resized, crop.left, crop.top) == ((400, 200), 150, 50)
