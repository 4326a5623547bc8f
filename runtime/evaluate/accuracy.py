"""Accuracy: how often the right class is the likeliest, or one of the five likeliest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from exportweb.runtime.evaluate.data import Score

_TOP = 5


class Accuracy:
    """Top-1 and, where there are more than five classes, top-5. `names` are those of the data set's classes, by their places in the model.

    Targets are places; answers float32 [C], the score of each class. Of equal scores the first class's counts as the best.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._count: dict[int, int] = dict.fromkeys(names, 0)
        self._first: dict[int, int] = dict.fromkeys(names, 0)
        self._five: int | None = None

    def add(self, target: int, answer: NDArray[np.float32]) -> None:
        """Count one image."""
        own = answer[target]
        rank = int(np.count_nonzero(answer > own) + np.count_nonzero(answer[:target] == own))
        self._count[target] += 1
        self._first[target] += rank == 0
        if len(answer) > _TOP:
            self._five = (self._five or 0) + (rank < _TOP)

    def result(self) -> Score:
        """Return ``top1`` and ``top5``, and the top-1 of each class's images."""
        count = sum(self._count.values())
        metrics = {"top1": sum(self._first.values()) / count}
        if self._five is not None:
            metrics["top5"] = self._five / count
        return Score(metrics, {name: self._first[i] / self._count[i] for i, name in self._names.items() if self._count[i]})
