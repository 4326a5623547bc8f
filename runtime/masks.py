"""Masks: pasted from their boxes into the picture, and written as PNG or as COCO's run-length encoding.

A mask is kept as the window that holds it, so that its cost is that of the object and not of the picture.
"""

from __future__ import annotations

import base64
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exportweb.card import Output
from exportweb.runtime import bilinear, png
from exportweb.runtime.frame import Frame

Bits = NDArray[np.bool_]

THRESHOLD = np.float32(0.5)
"""From which probability on a pixel belongs to a mask."""


class Mask(NamedTuple):
    """The pixels of an object in a picture of `size` (width, height): those that are true in `window`, bool [h, w], which begins at
    `left`, `top`. Outside the window there are none.
    """

    window: Bits
    left: int
    top: int
    size: tuple[int, int]

    @property
    def area(self) -> int:
        """How many pixels it has."""
        return int(np.count_nonzero(self.window))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The smallest box that holds it: x0, y0, x1, y1, where x1 and y1 are just behind its last pixels; zeros if it has none."""
        columns, rows = np.flatnonzero(self.window.any(axis=0)), np.flatnonzero(self.window.any(axis=1))
        if not len(rows):
            return 0.0, 0.0, 0.0, 0.0
        left, top = self.left + columns[0], self.top + rows[0]
        return float(left), float(top), float(self.left + columns[-1] + 1), float(self.top + rows[-1] + 1)

    def whole(self) -> Bits:
        """Return bool [height, width] of the whole picture."""
        canvas = np.zeros(self.size[::-1], np.bool_)
        canvas[self.top : self.top + self.window.shape[0], self.left : self.left + self.window.shape[1]] = self.window
        return canvas

    def png(self) -> str:
        """Return a PNG of the whole picture's size, grey, 255 where the mask is, in base64."""
        return base64.b64encode(png.grey(self.window, self.left, self.top, self.size)).decode("ascii")

    def rle(self) -> dict[str, Any]:
        """Return COCO's compressed run-length encoding: ``{"size": [height, width], "counts": "..."}``."""
        width, height = self.size
        return {"size": [height, width], "counts": _compress(self.runs())}

    def runs(self) -> NDArray[np.int64]:
        """Return the lengths of the runs of pixels outside and inside, in turn, column by column; the first is of those outside."""
        rows, columns = self.window.shape
        padded = np.zeros((columns, rows + 2), np.int8)
        padded[:, 1:-1] = self.window.T
        column, row = np.nonzero(np.diff(padded, axis=1))  # where a run begins, and just behind where one ends, in order
        edges = (self.left + column) * self.size[1] + self.top + row
        # A run that goes on from the bottom of a column to the top of the next ends where it begins again: neither counts.
        again = np.flatnonzero(edges[1:] == edges[:-1])
        edges = np.delete(edges, [*again, *(again + 1)])
        total = self.size[0] * self.size[1]
        ends = edges if len(edges) and edges[-1] == total else np.append(edges, total)
        return np.diff(ends, prepend=0)


def upright(output: Output, values: NDArray[Any], box: NDArray[np.float32], frame: Frame) -> Mask:
    """Return the mask in the upright picture that a graph's `output`, of role ``"masks"`` or ``"image-masks"``, gives as `values` for one
    object; `box` is the object's, in pixels of the upright picture.
    """
    if output.role == "image-masks":
        return in_frame(values, frame)
    return paste(values, box, frame.size, output.paste)


def paste(probabilities: NDArray[Any], box: NDArray[np.float32], size: tuple[int, int], how: Literal["continuous", "integer"]) -> Mask:
    """Lay a mask, probabilities [M, M] inside its box, into a picture of `size` (width, height); see `exportweb.card.Output`."""
    return (_continuous if how == "continuous" else _integer)(probabilities, box, size)


def in_frame(probabilities: NDArray[Any], frame: Frame) -> Mask:
    """Resize a mask, [h, w] over the whole input of the graph, to the upright picture."""
    rows, columns = frame_taps(probabilities.shape, frame)
    return Mask(bilinear.sample(probabilities, rows, columns) >= THRESHOLD, 0, 0, frame.size)


def combined(prototypes: NDArray[Any], weights: NDArray[np.float32], box: NDArray[np.float32], frame: Frame) -> Mask:
    """Return the mask whose logits are the `prototypes`, [M, h, w] over the whole input of the graph, times `weights` [M], summed: in the
    upright picture, cut to the object's `box` there. As Ultralytics' `process_mask_native`.
    """
    logits = np.tensordot(weights, prototypes.astype(np.float32, copy=False), axes=1)
    rows, columns = frame_taps(logits.shape, frame)
    (left, top), (right, bottom) = np.ceil(box.reshape(2, 2)).astype(int).tolist()  # the pixels whose place is in it
    return Mask(bilinear.sample(logits, rows.part(top, bottom), columns.part(left, right)) > 0, left, top, frame.size)


def frame_taps(shape: tuple[int, ...], frame: Frame) -> tuple[bilinear.Taps, bilinear.Taps]:
    """Return the taps, of rows and columns, that resize an array [..., h, w] over the whole input of the graph to the upright picture."""
    height, width = shape[-2:]
    across, down = width / frame.window[0], height / frame.window[1]
    columns = bilinear.resized(frame.size[0], width, -frame.left * across, (frame.resized[0] - frame.left) * across)
    rows = bilinear.resized(frame.size[1], height, -frame.top * down, (frame.resized[1] - frame.top) * down)
    return rows, columns


def _continuous(probabilities: NDArray[Any], box: NDArray[np.float32], size: tuple[int, int]) -> Mask:
    """As detectron2's `paste_masks_in_image`: the mask is sampled at the centre of each pixel, zeros around it."""
    left, top = (max(int(np.floor(low)) - 1, 0) for low in box[:2])
    right, bottom = (min(int(np.ceil(high)) + 1, side) for high, side in zip(box[2:], size, strict=True))
    rows, columns = (
        bilinear.placed(_in_mask(start, stop, low, high, count), count)
        for start, stop, low, high, count in (
            (top, bottom, box[1], box[3], probabilities.shape[0]),
            (left, right, box[0], box[2], probabilities.shape[1]),
        )
    )
    return Mask(bilinear.sample(probabilities, rows, columns) >= THRESHOLD, left, top, size)


def _in_mask(start: int, stop: int, low: np.float32, high: np.float32, count: int) -> NDArray[np.float32]:
    """Return where the centres of pixels lie in a mask of `count` values from `low` to `high`, in float32 and in PyTorch's order."""
    one, two, half = np.float32(1), np.float32(2), np.float32(0.5)
    at = (np.arange(start, stop, dtype=np.float32) + half - low) / (high - low) * two - one
    placed: NDArray[np.float32] = ((at + one) * np.float32(count) - one) / two
    return placed


def _integer(probabilities: NDArray[Any], box: NDArray[np.float32], size: tuple[int, int]) -> Mask:
    """As torchvision's `paste_masks_in_image`: mask and box grow by one value, the box is cut to whole pixels, the mask resized to it."""
    padded = np.pad(probabilities, 1)
    grown = np.float32(padded.shape[-1] / probabilities.shape[-1])
    half, centre = (box[2:] - box[:2]) * np.float32(0.5), (box[2:] + box[:2]) * np.float32(0.5)
    low, high = ((centre + sign * (half * grown)).astype(np.int64) for sign in (-1, 1))
    taps, starts = [], []
    for axis in (1, 0):
        count = max(int(high[axis] - low[axis]) + 1, 1)
        start = max(int(low[axis]), 0)
        stop = max(min(int(high[axis]) + 1, size[axis]), start)
        taps.append(bilinear.resized(count, padded.shape[1 - axis]).part(start - int(low[axis]), stop - int(low[axis])))
        starts.append(start)
    return Mask(bilinear.sample(padded, *taps) >= THRESHOLD, starts[1], starts[0], size)


def _compress(runs: NDArray[np.int64]) -> str:
    """Write runs as COCO does: from the fourth on the difference to the one two before, in groups of five bits from the lowest, each as
    the ASCII character 48 on; bit 6 says that more follow, and the last group's highest bit is the sign.
    """
    values = runs.copy()
    values[3:] -= runs[1:-2]
    out = bytearray()
    for value in values.tolist():
        while True:
            group = value & 31
            value >>= 5
            done = value == (-1 if group & 16 else 0)
            out.append(48 + group + (0 if done else 32))
            if done:
                break
    return out.decode("ascii")
