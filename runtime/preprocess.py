"""Preprocessing: from an upright picture to the array that a graph takes, bit for bit what training evaluated on.

What `exportweb.card.ImageInput` describes, done with Pillow and NumPy. Sizes and places are `exportweb.runtime.frame`'s: one pixel of
difference in the resized size moves the normalised tensor by up to 2.4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from exportweb.card import ImageInput
from exportweb.errors import CardError, TooLarge
from exportweb.runtime.frame import frame, resized_size
from exportweb.runtime.images import convert
from exportweb.runtime.resample import resize_window

# A picture of 1 x 50000 pixels is small, and its shortest edge can be resized to 256 in no memory that a server has.
MAX_RESIZED_PIXELS = 50_000_000

_SPARE = 2  # how many times larger than the resized picture one that was scaled down before still is

_GREY = frozenset({"1", "L", "LA", "La", "I", "F"})


class Preprocess:
    """Turns a picture into one element of a batch, as an `ImageInput` says.

    >>> pixels = Preprocess(card.input)(decode(data, max_pixels=50_000_000).image)  # doctest: +SKIP
    """

    def __init__(self, input: ImageInput) -> None:
        """Take the description; raise `CardError` if its per-channel values don't fit its channels."""
        for name in ("fill", "mean", "std"):
            count = len(getattr(input, name))
            if count != input.channels and not (name == "fill" and count == 1):
                raise CardError(f"The card's input has colour {input.color} but {count} values in {name!r}.")
        self.input = input
        self._resample = None if input.interpolation == "linear" else Image.Resampling[input.interpolation.upper()]
        self._mode: Any = "L" if input.color == "L" else "RGB"
        fill = input.fill * (input.channels // len(input.fill))
        self._fill: Any = fill[0] if input.channels == 1 else fill[::-1] if input.color == "BGR" else fill
        self._mean, self._std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (input.mean, input.std))

    def __call__(self, image: Image.Image) -> npt.NDArray[Any]:
        """Return the pixels: uint8 or float32 as `dtype` says, [height, width, channels] or, for ``"NCHW"``,
        [channels, height, width]; C-contiguous, possibly read-only. Of a graph that takes any size, as large as the picture is resized to.

        Raises `TooLarge` if the picture is so elongated that resizing it would take more than 50 million pixels,
        `NotAnImage` if its colours can't be converted.
        """
        return self._array(self._crop(image))

    def at_least(self, width: int, height: int) -> tuple[int, int] | None:
        """Return the (width, height) in pixels down to which a picture of this size may be scaled before it is handed over: twice what it
        is resized to, so that the filter of that resize still decides what is seen. None where it isn't resized, or by a filter that takes
        pixels whole: then which ones there are decides.
        """
        if self.input.resize == "none" or self.input.interpolation in ("nearest", "box", "linear"):
            return None
        resized = resized_size(self.input, width, height)
        return _SPARE * resized[0], _SPARE * resized[1]

    def _crop(self, image: Image.Image) -> Image.Image:
        """Convert, resize, crop and pad, in no more work than the result needs."""
        width, height = image.size
        _, size, (target_width, target_height), left, top = frame(self.input, width, height)
        if size != image.size and size[0] * max(size[1], height) > MAX_RESIZED_PIXELS:
            raise TooLarge(
                f"The image is {width} x {height} pixels: resized for the model it would be {size[0]} x {size[1]}. "
                "Send a less elongated part of it."
            )
        # A grey picture becomes RGB after the resize, which does the same to three equal channels as to one.
        grey = image.mode in _GREY or image.mode.startswith("I;16")
        window = max(left, 0), max(top, 0), min(left + target_width, size[0]), min(top + target_height, size[1])
        image = convert(image, "L" if grey else self._mode)
        image = convert(
            _sampled(image, size).crop(window) if self._resample is None else resize_window(image, size, window, self._resample), self._mode
        )
        if image.size != (target_width, target_height):
            canvas = Image.new(self._mode, (target_width, target_height), self._fill)
            canvas.paste(image, (max(-left, 0), max(-top, 0)))
            image = canvas
        return image

    def _array(self, image: Image.Image) -> npt.NDArray[Any]:
        input = self.input
        data = image.tobytes("raw", input.color)  # in the colour order that the graph wants, without another copy
        pixels: npt.NDArray[Any] = np.frombuffer(data, np.uint8).reshape(image.height, image.width, input.channels)
        planes = pixels.transpose(2, 0, 1)
        if input.dtype == "float32":  # in this order, each step rounded to float32, but in place: nothing but the result is allocated
            planes = planes.astype(np.float32, order="C")
            planes /= np.float32(255)
            planes -= self._mean
            planes /= self._std
        return np.ascontiguousarray(planes if input.layout == "NCHW" else planes.transpose(1, 2, 0))


def _sampled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to `size` (width, height) by the four pixels around each place, as OpenCV's INTER_LINEAR."""
    steps = image.width / size[0], 0, 0, 0, image.height / size[1], 0
    return image.transform(size, Image.Transform.AFFINE, steps, Image.Resampling.BILINEAR)
