"""Kinds of answers: what the pipeline is asked, and how the answer becomes what metrics compare."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exportweb.errors import DataError
from exportweb.runtime.evaluate.agreement import SameClass, SameObjects, SamePixels
from exportweb.runtime.predictor import Predictor

LEAST, MOST = 0.001, 300
"""From which score on objects are asked for, and how many at most: curves of precision need the doubtful ones, too."""


class Agreement(Protocol):
    """Compares two answers to the same image."""

    def add(self, one: Any, other: Any) -> None:
        """Count one image."""

    def result(self) -> dict[str, float]:
        """Return figures by name."""


class Kind(NamedTuple):
    """A kind of answers: the parameters to ask with, how one is read, and how two are compared."""

    name: str
    asks: Mapping[str, str]
    read: Callable[[Any], Any]
    agreement: Callable[[], Agreement]


def kind_of(predictor: Predictor) -> Kind:
    """Return the kind of answers that a model gives whose labels are numbers. Raises `DataError` for tasks that can't be evaluated."""
    task = predictor.card.task
    if task == "image-classification":
        count = len(getattr(predictor.task, "labels", ()))
        return Kind("scores", {"top_k": str(count)}, lambda answer: _scores(answer, count), SameClass)
    if task in ("object-detection", "instance-segmentation", "keypoint-detection"):
        asks = {"format": "coco", "threshold": str(LEAST), "top_k": str(MOST)}
        return Kind("objects", asks, lambda answer: answer["annotations"], SameObjects)
    if task == "semantic-segmentation":
        return Kind("regions", {}, _regions, SamePixels)
    raise DataError(
        f"A model for {task} can't be evaluated; what can are models for image classification, object detection, instance segmentation, "
        "keypoint detection and semantic segmentation."
    )


def _place(label: str) -> int:
    return int(label.removeprefix("class_"))


def _scores(answer: list[dict[str, Any]], count: int) -> NDArray[np.float32]:
    """Return float32 [C]."""
    scores = np.zeros(count, np.float32)
    for one in answer:
        scores[_place(one["label"])] = one["score"]
    return scores


def _regions(answer: list[dict[str, Any]]) -> NDArray[np.int64]:
    """Return int64 [height, width]: the class of each pixel."""
    classes: NDArray[np.int64] | None = None
    for one in answer:
        with Image.open(io.BytesIO(base64.b64decode(one["mask"]))) as mask:
            inside = np.asarray(mask) > 0
        classes = np.zeros(inside.shape, np.int64) if classes is None else classes
        classes[inside] = _place(one["label"])
    assert classes is not None  # every pixel has a class
    return classes
