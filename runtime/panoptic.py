"""Panoptic merging, as detectron2's `combine_semantic_and_instance_outputs` does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exportweb.runtime.masks import Mask

OVERLAP = 0.5
"""The share of a thing that better ones may cover; beyond it the thing is dropped."""

LEAST_STUFF = 4096
"""Pixels that a region of stuff has at least."""


class Segment(NamedTuple):
    """A part of the picture that no other part shares: thing number `thing` of those given, or, if that is None, of the class `stuff`."""

    mask: Mask
    thing: int | None = None
    stuff: int = 0


def merge(things: Sequence[Mask], stuff: NDArray[Any]) -> list[Segment]:
    """Return the segments of a picture: `things` as they are given, best first, each without what those before it cover; then what is left
    of the classes of `stuff` [height, width], in their order, without class 0, which stands for things.
    """
    free = np.ones(stuff.shape, np.bool_)
    segments = []
    for i, mask in enumerate(things):
        rows, columns = mask.window.shape
        part = free[mask.top : mask.top + rows, mask.left : mask.left + columns]
        left = mask.window & part
        area = mask.area
        kept = int(np.count_nonzero(left))
        if area == 0 or (area - kept) / area > OVERLAP:
            continue
        part &= ~mask.window
        segments.append(Segment(mask._replace(window=left), thing=i))
    counts = np.bincount(stuff[free], minlength=1)
    size = stuff.shape[1], stuff.shape[0]
    labels = [label for label in np.flatnonzero(counts >= LEAST_STUFF).tolist() if label]
    return segments + [Segment(Mask(free & (stuff == label), 0, 0, size), stuff=label) for label in labels]
