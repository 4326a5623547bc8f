"""Images to read: decoded, resized, stacked into a batch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from exportweb.card import ImageInput
from exportweb.errors import CardError
from exportweb.runtime.images import decode
from exportweb.runtime.preprocess import Preprocess
from exportweb.runtime.reader import Array, Prepared, Row
from exportweb.runtime.session import Port

Decode = Literal["exact", "fast"]


class ImageReader:
    """Reads image files for a graph with one input.

    With `decoding` ``"fast"`` a JPEG much larger than the input is scaled down while it is decoded, which changes its pixels a little.

    Raises `CardError` if the card's input and the graph's don't fit each other.
    """

    takes: Literal["image"] = "image"
    sure = True

    def __init__(self, input: ImageInput, ports: Sequence[Port], *, decoding: Decode = "exact") -> None:
        self.max_batch = _check(input, ports)
        self._input = input
        self._preprocess = Preprocess(input)
        self._at_least = self._preprocess.at_least if decoding == "fast" else None

    def prepare(self, data: bytes, *, max_pixels: int) -> Prepared:
        """Decode, resize and crop one image."""
        start = time.perf_counter()
        picture = decode(data, max_pixels=max_pixels, at_least=self._at_least)
        decoded = time.perf_counter()
        array = self._preprocess(picture.image)
        stages = {"decode": decoded - start, "resize": time.perf_counter() - decoded}
        return Prepared({self._input.name: array}, stages, picture.size)

    def feed(self, batch: Sequence[Prepared]) -> Mapping[str, Array]:
        """Stack images."""
        name = self._input.name
        arrays = [prepared.arrays[name] for prepared in batch]
        return {name: arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)}

    def rows(self, outputs: Mapping[str, Any], count: int) -> list[Row]:
        """Return each image's part of the outputs, without the batch dimension."""
        return [{name: rows[i] for name, rows in outputs.items()} for i in range(count)]

    def blank(self) -> Prepared:
        """Return a grey image."""
        input = self._input
        array = np.full(_shape(input), 127 if input.dtype == "uint8" else 0, input.dtype)
        return Prepared({input.name: array}, {}, (input.width, input.height))


def _shape(input: ImageInput) -> tuple[int, int, int]:
    height, width, channels = input.height, input.width, input.channels
    return (height, width, channels) if input.layout == "NHWC" else (channels, height, width)


def _check(input: ImageInput, ports: Sequence[Port]) -> int | None:
    """Compare the card's input with the graph's; return 1 if the graph's batch is fixed at one image, None if it is free."""
    if [port.name for port in ports] != [input.name]:
        names = ", ".join(repr(port.name) for port in ports)
        raise CardError(f"The card describes one input, {input.name!r}; the graph has {names}.")
    port, shape = ports[0], _shape(input)
    fits = len(port.shape) == 4 and all(has in (None, want) for has, want in zip(port.shape[1:], shape, strict=True))
    if port.dtype != input.dtype or not fits:
        raise CardError(
            f"The card says that {input.name!r} is {input.dtype} [N, {', '.join(map(str, shape))}]; the graph wants {port.describe()}."
        )
    if port.shape[0] not in (None, 1):
        raise CardError(f"The graph takes batches of exactly {port.shape[0]} images; export it with a dynamic batch, or with 1.")
    return port.shape[0]
