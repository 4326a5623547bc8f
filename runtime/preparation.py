"""Preparation: from an image file's bytes to the array that a graph takes. Described by bytes, so that another process can do it, too."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Literal

import msgspec

from exportweb.card import ImageInput
from exportweb.runtime.images import decode
from exportweb.runtime.preprocess import Preprocess
from exportweb.runtime.reader import Prepared

Decode = Literal["exact", "fast"]


class Preparation:
    """Prepares images for an input. With `decoding` ``"fast"`` a JPEG much larger than the input is scaled down while it is decoded, which
    changes its pixels a little. `description` says the same in bytes.

    Raises `CardError` for an input that can't be prepared.
    """

    def __init__(self, input: ImageInput, decoding: Decode = "exact") -> None:
        self.description = msgspec.msgpack.encode((input, decoding))
        self._name = input.name
        self._preprocess = Preprocess(input)
        self._at_least = self._preprocess.at_least if decoding == "fast" else None

    def __call__(self, data: bytes, *, max_pixels: int) -> Prepared:
        """Decode, resize and crop one image; raise `RequestError` for one that can't be used."""
        start = time.perf_counter()
        picture = decode(data, max_pixels=max_pixels, at_least=self._at_least)
        decoded = time.perf_counter()
        array = self._preprocess(picture.image)
        stages = {"decode": decoded - start, "resize": time.perf_counter() - decoded}
        return Prepared({self._name: array}, stages, picture.size)


@lru_cache(maxsize=16)
def described(description: bytes) -> Preparation:
    """Return the preparation that some bytes describe."""
    return Preparation(*msgspec.msgpack.decode(description, type=tuple[ImageInput, Decode]))
