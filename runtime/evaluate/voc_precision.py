"""Average precision as the PASCAL VOC challenge defines it since 2010: the whole area under the curve of precision by recall.

M. Everingham et al., "The PASCAL Visual Object Classes Challenge 2012 (VOC2012) Development Kit", 4.4 "Evaluation": a detection is right if
it overlaps an object by at least half, each object is found once, those marked difficult are neither asked for nor counted as wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from exportweb.errors import DataError
from exportweb.runtime.evaluate.data import Score
from exportweb.runtime.evaluate.overlap import Boxes, corners, overlaps

_OVERLAP = 0.5


class Truth(NamedTuple):
    """An object that is in an image: the place of its class in the model, its box x0, y0, x1, y1 in pixels, and if it is difficult."""

    place: int
    box: tuple[float, float, float, float]
    difficult: bool


class VocPrecision:
    """The mean of the classes' average precisions at an overlap of 0.5. `names` are those of the data set's classes, by place.

    Targets are lists of `Truth`; answers annotations as COCO has them, whose categories are places from 1 on.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._known = dict.fromkeys(names, 0)
        self._scores: dict[int, list[float]] = defaultdict(list)
        self._right: dict[int, list[bool]] = defaultdict(list)

    def add(self, target: list[Truth], answer: list[dict[str, Any]]) -> None:
        """Count one image."""
        for place in self._names:
            known = [one for one in target if one.place == place]
            found = sorted((one for one in answer if one["category_id"] == place + 1), key=lambda one: -one["score"])
            self._known[place] += sum(not one.difficult for one in known)
            shared = overlaps(corners([one["bbox"] for one in found]), _boxes(known))
            taken: set[int] = set()
            for one, row in zip(found, shared, strict=True):
                best = int(row.argmax()) if len(row) else 0
                hit = bool(len(row)) and row[best] >= _OVERLAP
                if hit and known[best].difficult:
                    continue
                self._scores[place].append(one["score"])
                self._right[place].append(hit and best not in taken)
                taken |= {best} if hit else set()

    def result(self) -> Score:
        """Return ``mAP50``, and each class's average precision. Classes without an object don't count."""
        classes = {name: self._precision(place) for place, name in self._names.items() if self._known[place]}
        if not classes:
            raise DataError("The images that were evaluated have no object that counts: there are none, or all are marked difficult.")
        return Score({"mAP50": float(np.mean(list(classes.values())))}, classes)

    def _precision(self, place: int) -> float:
        order = np.argsort(-np.array(self._scores[place]), kind="stable")
        right = np.array(self._right[place], bool)[order]
        found = np.cumsum(right)
        recall = found / self._known[place]
        precision = found / np.arange(1, len(right) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall, or a higher one
        return float((np.diff(recall, prepend=0) * best).sum())


def _boxes(known: list[Truth]) -> Boxes:
    return np.array([one.box for one in known], np.float64).reshape(-1, 4)
