"""Average precision as COCO defines it, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from exportweb.errors import DataError
from exportweb.runtime.evaluate.data import Score

_PEOPLE = 17  # points whose tolerances COCO has measured

# What each task is compared by: pycocotools' name of it, and how ours begin.
_TYPES = {
    "object-detection": {"bbox": "box"},
    "instance-segmentation": {"bbox": "box", "segm": "mask"},
    "keypoint-detection": {"bbox": "box", "keypoints": "keypoint"},
}

# Which of pycocotools' figures is which, of boxes and masks, and of keypoints.
_FIGURES = {"mAP": 0, "mAP50": 1, "mAP75": 2, "mAP_small": 3, "mAP_medium": 4, "mAP_large": 5, "recall": 8}
_POINT_FIGURES = {"mAP": 0, "mAP50": 1, "mAP75": 2, "mAP_medium": 3, "mAP_large": 4, "recall": 5}

# What an object needs for a comparison; with a box, pycocotools would take the area of a mask from that.
_KEPT = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}


def check_installed() -> None:
    """Raise `DataError` that says what to install if pycocotools isn't there."""
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "pycocotools":
            raise
        raise DataError('COCO\'s metrics need pycocotools, which is not installed: pip install "exportweb[evaluate]"') from error


class AveragePrecision:
    """COCO's mAP of boxes and, where the `task` finds them and the data set has them, of masks or of keypoints.

    `truth` is a COCO data set with all that pycocotools needs, `ids` its category ids by the places of classes in the model; what the model
    finds of other classes does not count. Targets are ids of images; answers annotations whose categories are places from 1 on. `points`
    is how many keypoints the model has, 0 if nobody knows: where they are not COCO's 17, the tolerance of each is one divided by their
    number.
    """

    def __init__(self, truth: Mapping[str, Any], ids: Mapping[int, int], task: str, *, points: int = 0) -> None:
        self._truth, self._ids, self._points = truth, ids, points
        known = truth["annotations"]
        self._types = {kind: name for kind, name in _TYPES[task].items() if kind == "bbox" or any(each.get(_KEPT[kind]) for each in known)}
        for each in known if "keypoints" in self._types else ():
            count = len(each.get("keypoints") or ()) // 3
            self._points = self._points or count
            if count not in (0, self._points):
                raise DataError(
                    f"The model has {self._points} keypoints; an object of the data set, in image {each['image_id']}, has {count}. They "
                    "should be the same, in the same order."
                )
        self._images: list[Any] = []
        self._found: list[dict[str, Any]] = []

    def add(self, target: Any, answer: list[dict[str, Any]]) -> None:
        """Count one image."""
        self._images.append(target)
        for one in answer:
            if (place := one["category_id"] - 1) in self._ids:
                self._found.append({**one, "image_id": target, "category_id": self._ids[place]})

    def result(self) -> Score:
        """Return ``box_mAP``, ``box_mAP50``, … and so on for ``mask_`` and ``keypoint_``, and each category's mAP by the last of these.

        A figure that nothing in the data set is for, such as that of small objects where there are none, is left out.
        """
        metrics: dict[str, float] = {}
        classes: dict[str, float] = {}
        for kind, name in self._types.items():
            evaluation = self._evaluate(kind)
            figures = _POINT_FIGURES if kind == "keypoints" else _FIGURES
            metrics |= {f"{name}_{figure}": float(evaluation.stats[i]) for figure, i in figures.items() if evaluation.stats[i] >= 0}
            classes = self._classes(evaluation)
        if not metrics:
            raise DataError("The images that were evaluated have no object of a category that the model knows.")
        return Score(metrics, classes)

    def _evaluate(self, kind: str) -> Any:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        chosen = set(self._images)
        annotations = [each for each in self._truth["annotations"] if each["image_id"] in chosen]
        if kind != "bbox":
            annotations = [each for each in annotations if each.get(_KEPT[kind])]
        if kind == "keypoints":
            annotations = [{"num_keypoints": _visible(each["keypoints"]), **each} for each in annotations]
        kept = ("image_id", "category_id", "score", _KEPT[kind])
        found = [{key: one[key] for key in kept} for one in self._found]
        with contextlib.redirect_stdout(io.StringIO()):  # which it reports to
            truth = COCO()
            truth.dataset = {**self._truth, "annotations": annotations}
            truth.createIndex()
            answers = truth.loadRes(found) if found else _nothing(truth.dataset)
            evaluation = COCOeval(truth, answers, kind)
            evaluation.params.imgIds = self._images
            evaluation.params.catIds = sorted(self._ids.values())
            if kind == "keypoints" and self._points != _PEOPLE:
                evaluation.params.kpt_oks_sigmas = np.full(self._points, 1 / self._points)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation

    def _classes(self, evaluation: Any) -> dict[str, float]:
        """Return the mean over overlaps and recalls of each category's precision: of objects of any size, of as many as are counted."""
        precision = evaluation.eval["precision"]  # [overlaps, recalls, categories, sizes, counts]
        names = {each["id"]: each["name"] for each in self._truth["categories"]}
        figures: dict[str, float] = {}
        for i, number in enumerate(evaluation.params.catIds):
            values = precision[:, :, i, 0, -1]
            if (values >= 0).any():
                figures[names[number]] = float(values[values >= 0].mean())
        return figures


def _nothing(dataset: Mapping[str, Any]) -> Any:
    from pycocotools.coco import COCO

    empty = COCO()
    empty.dataset = {**dataset, "annotations": []}
    empty.createIndex()
    return empty


def _visible(keypoints: list[float]) -> int:
    return sum(1 for visibility in keypoints[2::3] if visibility > 0)
