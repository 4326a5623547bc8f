"""Resampling: the window that a crop keeps of a resized image, every bit the same, without most of what it drops.

Pillow resizes in two passes, each rounded to 8 bits. Four facts about its resampler (libImaging/Resample.c) make a
window of the result cheaper than the whole:

- The passes are separate, so they can be two calls: the second needs only what the window keeps of the first's result,
  and a first pass along the rows needs only those rows that some kept row of the result reaches.
- A `box` limits what is computed, and the filter still sees the pixels around the box. But its corners are float32, so
  the result is the same only where they are exact: where ``source / target`` in lowest terms has a power of two below
  it, as 375 to 256 has and 500 to 341 has not.
- Which pass comes first depends on Pillow's version and the sizes, and the rounding shows it. What the installed one
  does is found out once; if it follows no known rule, the whole image is resized and then cropped.
- Copying rows away costs more than it saves once they are no longer in the cache.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable

from PIL import Image

Resampling = Image.Resampling
Size = tuple[int, int]

# Half the width of each filter at scale 1, in source pixels.
_SUPPORT = {
    Resampling.NEAREST: 0.5,
    Resampling.BOX: 0.5,
    Resampling.BILINEAR: 1.0,
    Resampling.HAMMING: 1.0,
    Resampling.BICUBIC: 2.0,
    Resampling.LANCZOS: 3.0,
}

# Below this many pixels, or this share of the rows, a copy of the rows is cheaper than resampling the others.
_SMALL, _FEW = 1 << 21, 0.7


def resize_window(image: Image.Image, size: Size, window: tuple[int, int, int, int], resample: Image.Resampling) -> Image.Image:
    """Return ``image.resize(size, resample).crop(window)``, equal in every bit, for an image of mode RGB or L.

    `size` is (width, height); `window` is (left, top, right, bottom) in the resized image and lies inside it.
    """
    if image.size == size:
        return image if window == (0, 0, *size) else image.crop(window)
    columns_first = _pass_order()
    if columns_first is None:
        return image.resize(size, resample).crop(window)
    (source_width, source_height), (width, height), (left, top, right, bottom) = image.size, size, window
    kept_width, kept_height = right - left, bottom - top
    first, last = _reached(source_height, height, top, bottom, _SUPPORT[resample])
    cut = (last - first) * source_width <= _SMALL or last - first <= _FEW * source_height

    across = _exact_box(source_width, width, left, right)
    down = _exact_box(source_height, height, top, bottom)
    boxed = (kept_width if across else width, kept_height)
    if down and (across or not cut) and columns_first(image.size, boxed) == columns_first(image.size, size):
        x0, x1 = across or (0, source_width)
        image = image.resize(boxed, resample, (x0, down[0], x1, down[1]))
        return image if across else image.crop((left, 0, right, kept_height))
    if columns_first(image.size, size):
        return _horizontal(_vertical(image, height, top, bottom, resample), width, left, right, resample)
    if not cut:
        return _vertical(_horizontal(image, width, left, right, resample), height, top, bottom, resample)
    # A box of whole pixels at its own size is a crop; Image.crop would check Pillow's own pixel limit.
    image = image.resize((source_width, last - first), Resampling.NEAREST, (0, first, source_width, last))
    image = _horizontal(image, width, left, right, resample)
    if down:  # it is exact from any row on
        return image.resize((kept_width, kept_height), resample, (0, down[0] - first, kept_width, down[1] - first))
    image = image.crop((0, -first, kept_width, source_height - first))  # rows that nobody reaches come back as zeros
    return _vertical(image, height, top, bottom, resample)


def _horizontal(image: Image.Image, target: int, start: int, stop: int, resample: Image.Resampling) -> Image.Image:
    """Resize every row to `target` pixels and keep those from `start` to `stop`."""
    box = _exact_box(image.width, target, start, stop)
    if box:
        return image.resize((stop - start, image.height), resample, (box[0], 0, box[1], image.height))
    return image.resize((target, image.height), resample).crop((start, 0, stop, image.height))


def _vertical(image: Image.Image, target: int, start: int, stop: int, resample: Image.Resampling) -> Image.Image:
    """Resize every column to `target` pixels and keep those from `start` to `stop`."""
    box = _exact_box(image.height, target, start, stop)
    if box:
        return image.resize((image.width, stop - start), resample, (0, box[0], image.width, box[1]))
    return image.resize((image.width, target), resample).crop((0, start, image.width, stop))


def _exact_box(source: int, target: int, start: int, stop: int) -> tuple[float, float] | None:
    """Return where target pixels `start` to `stop` come from along an axis, or None if float32 can't say it exactly."""
    below = target // math.gcd(source, target)
    if below & (below - 1) or stop * (source * below // target) >= 1 << 24:
        return None
    return start * source / target, stop * source / target


def _reached(source: int, target: int, start: int, stop: int, support: float) -> tuple[int, int]:
    """Return the source pixels that target pixels `start` to `stop` may read along an axis, with one to spare."""
    scale = source / target
    reach = support * max(scale, 1.0)
    return (
        max(0, math.floor((start + 0.5) * scale - reach) - 1),
        min(source, math.ceil((stop - 0.5) * scale + reach) + 1),
    )


def _very_tall(source: Size, target: Size) -> bool:
    """Pillow 12.3: columns come first in an image that shrinks and is a hundred times as high as it is wide."""
    return source[1] > 100 * source[0] and target[1] < source[1]


def _shrinking_more(source: Size, target: Size) -> bool:
    """Pillow 13: columns come first where the height shrinks by more than twice what the width does."""
    shrink = source[1] - target[1]
    return shrink > 0 and shrink > 2 * (source[0] - target[0])


@functools.cache
def _pass_order() -> Callable[[Size, Size], bool] | None:
    """Return the rule by which the installed Pillow does columns first, or None if it is none of the known ones."""
    shapes = (20, 40, 10, 20), (20, 41, 10, 20), (3, 301, 9, 20), (8, 30, 24, 20), (41, 20, 20, 10), (30, 8, 20, 24)
    for rule in (_shrinking_more, _very_tall):
        if all(_obeys(rule, (a, b), (c, d)) for a, b, c, d in shapes):
            return rule
    return None


def _obeys(rule: Callable[[Size, Size], bool], source: Size, target: Size) -> bool:
    """Resize noise in one call and in two, and compare."""
    image = Image.frombytes("L", source, random.Random(0).randbytes(source[0] * source[1]))
    between = (source[0], target[1]) if rule(source, target) else (target[0], source[1])
    twice = image.resize(between, Resampling.BICUBIC).resize(target, Resampling.BICUBIC)
    return twice.tobytes() == image.resize(target, Resampling.BICUBIC).tobytes()
