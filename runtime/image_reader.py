"""Images to read: decoded, resized, stacked into batches; and their parts of what the graph answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from exportweb.card import ImageInput
from exportweb.errors import ArtifactError, CardError
from exportweb.runtime.frame import frame
from exportweb.runtime.preparation import Decode, Preparation
from exportweb.runtime.reader import Array, Prepared, Row
from exportweb.runtime.session import Port

_ORDINARY = (640, 480)


class ImageReader:
    """Reads image files for a graph with one input.

    `ranks` says how many dimensions each output has for one image (see `exportweb.card.ROLES`): one that has no more answers for one
    image, so that batches can't be larger. `decoding` is that of `Preparation`, which `description` describes.

    Raises `CardError` if the card's input and the graph's don't fit each other.
    """

    takes: Literal["image"] = "image"
    sure = True

    def __init__(
        self, input: ImageInput, ports: Sequence[Port], *, ranks: Mapping[str, int] | None = None, decoding: Decode = "exact"
    ) -> None:
        self.max_batch = _check(input, ports)
        self._ranks = ranks or {}
        self._input = input
        self._preparation = Preparation(input, decoding)
        self.description = self._preparation.description

    def prepare(self, data: bytes, *, max_pixels: int) -> Prepared:
        """Decode, resize and crop one image."""
        return self._preparation(data, max_pixels=max_pixels)

    def groups(self, batch: Sequence[Prepared]) -> list[list[int]]:
        """Return which images can be stacked: those of the same size."""
        if self._input.height or len(batch) == 1:
            return [list(range(len(batch)))]
        found: dict[tuple[int, ...], list[int]] = {}
        for i, prepared in enumerate(batch):
            found.setdefault(prepared.arrays[self._input.name].shape, []).append(i)
        return list(found.values())

    def feed(self, batch: Sequence[Prepared]) -> Mapping[str, Array]:
        """Stack images of one size."""
        name = self._input.name
        arrays = [prepared.arrays[name] for prepared in batch]
        return {name: arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)}

    def rows(self, outputs: Mapping[str, Any], count: int) -> list[Row]:
        """Return each image's part of the outputs, without the batch dimension where there is one."""
        whole = {name for name, array in outputs.items() if array.ndim == self._ranks.get(name)}
        if whole and count > 1:
            names = ", ".join(map(repr, sorted(whole)))
            raise ArtifactError(f"The graph takes {count} images at once, but {names} answers for one; export it for a batch of 1.")
        return [{name: rows if name in whole else rows[i] for name, rows in outputs.items()} for i in range(count)]

    def blank(self) -> Prepared:
        """Return a grey image; of a graph that takes any size, as large as one of 640 x 480 pixels becomes."""
        input, size = self._input, (self._input.width, self._input.height)
        if not input.height:
            size = _ORDINARY
        width, height = frame(input, *size).window
        shape = (height, width, input.channels) if input.layout == "NHWC" else (input.channels, height, width)
        array = np.full(shape, 127 if input.dtype == "uint8" else 0, input.dtype)
        return Prepared({input.name: array}, {}, size)


def sides(input: ImageInput) -> tuple[int | None, ...]:
    """Return how large an image is in the graph, in the order of its layout; None is any size."""
    height, width, channels = input.height or None, input.width or None, input.channels
    return (height, width, channels) if input.layout == "NHWC" else (channels, height, width)


def _check(input: ImageInput, ports: Sequence[Port]) -> int | None:
    """Compare the card's input with the graph's; return 1 if the graph's batch is fixed at one image, None if it is free."""
    if [port.name for port in ports] != [input.name]:
        names = ", ".join(repr(port.name) for port in ports)
        raise CardError(f"The card describes one input, {input.name!r}; the graph has {names}.")
    if (input.height == 0) != (input.width == 0):
        raise CardError(f"The card's input is {input.height} x {input.width}; a size is two numbers, or 0 x 0 where any will do.")
    port, shape = ports[0], sides(input)
    fits = len(port.shape) == 4 and all(has in (None, want) for has, want in zip(port.shape[1:], shape, strict=True))
    if port.dtype != input.dtype or not fits:
        raise CardError(
            f"The card says that {input.name!r} is {Port('', input.dtype, (None, *shape)).describe()}; the graph wants {port.describe()}."
        )
    if port.shape[0] not in (None, 1):
        raise CardError(f"The graph takes batches of exactly {port.shape[0]} images; export it with a dynamic batch, or with 1.")
    return port.shape[0]
