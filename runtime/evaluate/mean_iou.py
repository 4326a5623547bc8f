"""Mean intersection over union: how much of each class's pixels, found or there, are both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exportweb.errors import DataError
from exportweb.runtime.evaluate.data import Score

_NONE = 255  # the value of pixels that don't count, such as VOC's borders


class MeanIou:
    """The mean over classes, and the share of pixels whose class is right. `labels` are the model's.

    Targets are files of maps, answers int64 [height, width]: the class of each pixel.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._counts = np.zeros((len(labels), len(labels)), np.int64)  # [what is there, what is found]

    def add(self, target: Path, answer: NDArray[np.int64]) -> None:
        """Count one picture. Raises `DataError` if its map can't be read, or is of another size or of more classes."""
        truth = _read(target)
        if truth.shape != answer.shape:
            sizes = [f"{shape[1]} x {shape[0]}" for shape in (truth.shape, answer.shape)]
            raise DataError(f"Its map {target} has {sizes[0]} pixels; it has {sizes[1]}.")
        inside = truth != _NONE
        there, found, count = truth[inside], answer[inside], len(self._labels)
        if there.max(initial=0) >= count:
            raise DataError(
                f"Its map {target} has a class {there.max()}; the values of maps should be the places of the model's labels, 0 to "
                f"{count - 1} ({', '.join(self._labels[:5])}, …), or 255 for none."
            )
        self._counts += np.bincount(there * count + found, minlength=count * count).reshape(count, count)

    def result(self) -> Score:
        """Return ``mIoU`` and ``pixel_accuracy``, and the figure of each class. Classes that are neither there nor found don't count."""
        both = np.diag(self._counts)
        either = self._counts.sum(axis=0) + self._counts.sum(axis=1) - both
        classes = {label: float(both[i] / either[i]) for i, label in enumerate(self._labels) if either[i]}
        if not classes:
            raise DataError("No pixel of the maps has a class.")
        return Score({"mIoU": float(np.mean(list(classes.values()))), "pixel_accuracy": float(both.sum() / self._counts.sum())}, classes)


def _read(path: Path) -> NDArray[np.int64]:
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "I", "I;16"):
                raise DataError(f"Its map {path} is {image.mode}; it should have one number a pixel: a PNG with a palette, or grey.")
            return np.asarray(image).astype(np.int64)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"Its map {path} can't be read: {error}.") from error
