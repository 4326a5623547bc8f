"""Agreement: how much two answers to the same image have in common, whatever is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exportweb.runtime.evaluate.overlap import corners, overlaps

_COUNTS = 0.05  # the score from which on an object has to be found by both
_SAME = 0.5  # the overlap of objects that are the same


class SameClass:
    """The share of images whose likeliest class is the same, and the largest difference of a score."""

    def __init__(self) -> None:
        self._count = self._same = 0
        self._difference = 0.0

    def add(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        """Compare scores, float32 [C]."""
        self._count += 1
        self._same += int(one.argmax() == other.argmax())
        self._difference = max(self._difference, float(np.abs(one - other).max()))

    def result(self) -> dict[str, float]:
        """Return both."""
        return {"same top class": self._same / self._count, "largest difference of a score": self._difference}


class SameObjects:
    """The share of objects, of a score of 0.05 or more on either side, that the other side has, too: of the same class, with half of the
    area in common; the largest difference of the scores of such two, and of a side of their boxes in pixels.
    """

    def __init__(self) -> None:
        self._count = self._same = 0
        self._score = self._side = 0.0

    def add(self, one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
        """Compare annotations as COCO has them."""
        self._one_way(one, other)
        self._one_way(other, one)

    def _one_way(self, one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
        counted = [each for each in one if each["score"] >= _COUNTS]
        self._count += len(counted)
        if not (counted and other):
            return
        boxes, others = (corners([each["bbox"] for each in side]) for side in (counted, other))
        shared = overlaps(boxes, others)
        classes = [np.array([each["category_id"] for each in side]) for side in (counted, other)]
        shared[classes[0][:, None] != classes[1][None]] = 0
        for i in range(len(counted)):
            j = int(shared[i].argmax())
            if shared[i, j] < _SAME:
                continue
            self._same += 1
            self._score = max(self._score, abs(counted[i]["score"] - other[j]["score"]))
            self._side = max(self._side, float(np.abs(boxes[i] - others[j]).max()))
            shared[:, j] = 0  # each is the counterpart of one

    def result(self) -> dict[str, float]:
        """Return the three."""
        return {
            "same objects": self._same / self._count if self._count else 1.0,
            "largest difference of a score": self._score,
            "largest difference of a side, in pixels": self._side,
        }


class SamePixels:
    """The share of pixels whose class is the same."""

    def __init__(self) -> None:
        self._count = self._same = 0

    def add(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
        """Compare maps of classes [height, width]."""
        self._count += one.size
        self._same += int(np.count_nonzero(one == other)) if one.shape == other.shape else 0

    def result(self) -> dict[str, float]:
        """Return it."""
        return {"same pixels": self._same / self._count}
