"""Keypoint detection: object detection with the named points of each object, in pixels of the upright picture.

Answers are those of object detection with ``"keypoints": [{"label": "nose", "x": 10.5, "y": 20.25, "score": 0.8}, ...]``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from exportweb.card import Card
from exportweb.runtime import boxes, keypoints
from exportweb.runtime.detections import Detections, output
from exportweb.runtime.found import Found, Params, Point
from exportweb.runtime.frame import Frame
from exportweb.runtime.reader import Row
from exportweb.runtime.tasks.object_detection import ObjectDetection


class KeypointDetection(ObjectDetection):
    """The task of a card with an output of role ``"keypoints"`` or ``"keypoint-heatmaps"`` beside those of object detection, or with
    detections that have three more numbers for each point.

    Points without names are called ``point_0``, ``point_1``, ... Raises `CardError` if an output is missing.
    """

    what = "keypoint detection"

    def __init__(self, card: Card, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        super().__init__(card, shapes)
        self._output = None
        if not (self.detector.has_more and card.keypoints):
            self._output = output(card, ("keypoints", "keypoint-heatmaps"), self.what)
            self.outputs = (*self.outputs, self._output.name)

    def _object(self, row: Row, one: Detections, frame: Frame, params: Params) -> Found:
        points = self._points(row, one)
        places = boxes.upright(points[:, :2], frame).tolist()
        names = self.card.keypoints
        found = super()._object(row, one, frame, params)
        return found._replace(
            points=tuple(Point(names[i] if i < len(names) else f"point_{i}", x, y, float(points[i, 2])) for i, (x, y) in enumerate(places))
        )

    def _points(self, row: Row, one: Detections) -> NDArray[np.float32]:
        """Return float32 [K, 3]: x and y in pixels of the graph's input, and a score."""
        place = int(one.places)
        if self._output is None:
            return self.detector.more(row, place).reshape(-1, 3)
        values = row[self._output.name][place]
        return keypoints.decode(values, one.placed) if self._output.role == "keypoint-heatmaps" else values.astype(np.float32, copy=False)
