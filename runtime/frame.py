"""The frame: where an upright picture lies in the image that a graph takes, and how a place there becomes one in the picture again.

The sizes follow the libraries bit for bit: torchvision's `Resize` and DETR's processors where they truncate, timm's `ResizeKeepRatio`
and `CenterCropOrPad` where they round, detectron2's `ResizeShortestEdge` where it adds a half.
"""

from __future__ import annotations

from typing import NamedTuple

from exportweb.card import ImageInput


class Frame(NamedTuple):
    """Sizes are (width, height) in pixels: `size` that of the upright picture, `resized` what it is resized to, `window` that of the
    graph's input, which begins at `left`, `top` in the resized picture: below zero where it is padded.
    """

    size: tuple[int, int]
    resized: tuple[int, int]
    window: tuple[int, int]
    left: int
    top: int

    @property
    def scale(self) -> tuple[float, float]:
        """How many of the picture's pixels, across and down, one pixel of the graph's input is."""
        return self.size[0] / self.resized[0], self.size[1] / self.resized[1]


def frame(input: ImageInput, width: int, height: int) -> Frame:
    """Return where a picture of this width and height, in pixels, lies in the graph's input."""
    resized = resized_size(input, width, height)
    if not input.height:
        return Frame((width, height), resized, resized, 0, 0)
    left, top = _offset(resized[0], input.width), _offset(resized[1], input.height)
    return Frame((width, height), resized, (input.width, input.height), left, top)


def resized_size(input: ImageInput, width: int, height: int) -> tuple[int, int]:
    """Return (width, height), in pixels, that a picture of this width and height is resized to before the crop."""
    if input.resize == "none":
        return width, height
    if input.resize == "exact":
        return input.resize_width, input.resize_height
    if input.resize == "shortest":
        return _shortest(input.resize_height, input.resize_max, width, height)
    if input.resize == "bounded":
        return _bounded(input.resize_height, input.resize_max, width, height)
    ratios = height / input.resize_height, width / input.resize_width
    ratio = min(ratios) if input.resize == "cover" else max(ratios)
    return max(round(width / ratio), 1), max(round(height / ratio), 1)


def _shortest(edge: int, most: int, width: int, height: int) -> tuple[int, int]:
    """Truncate the longer side; where it would be more than `most`, round the shorter one, too."""
    exact: float = edge
    short, long = min(width, height), max(width, height)
    if most and long / short * edge > most:
        exact = most * float(short) / float(long)
        edge = max(round(exact), 1)
        if short == edge:
            return width, height
    other = max(int(exact * long / short), 1)
    return (edge, other) if width <= height else (other, edge)


def _bounded(edge: int, most: int, width: int, height: int) -> tuple[int, int]:
    """Scale the sides in float64, in the order in which `ResizeShortestEdge.get_output_shape` does, and add a half."""
    scale = edge * 1.0 / min(height, width)
    high, wide = (edge * 1.0, scale * width) if height < width else (scale * height, edge * 1.0)
    if most and max(high, wide) > most:
        scale = most * 1.0 / max(high, wide)
        high, wide = high * scale, wide * scale
    return max(int(wide + 0.5), 1), max(int(high + 0.5), 1)


def _offset(size: int, target: int) -> int:
    """Return where a centred window of `target` pixels starts along an axis; below zero if it is padded there."""
    return round((size - target) / 2) if size >= target else -((target - size) // 2)
