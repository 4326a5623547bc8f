"""Object detection: boxes, their scores and classes in, named boxes in pixels of the upright picture out.

Answers have the shape of Hugging Face's task API: ``[{"label": "cat", "score": 0.93, "box": {"xmin": 1.5, "ymin": 2.0, "xmax": 30.25,
"ymax": 40.0}}, ...]``, best first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exportweb.card import Card
from exportweb.runtime import found
from exportweb.runtime.detections import Detections, Detector
from exportweb.runtime.found import Found, Params
from exportweb.runtime.frame import Frame
from exportweb.runtime.reader import Prepared, Row
from exportweb.runtime.tasks import File


class ObjectDetection:
    """The task of a card with outputs of the roles that `exportweb.runtime.detections.Detector` reads. Raises `CardError` if it has none.

    Tasks that find more about each object derive from this one.
    """

    what = "object detection"
    knows: tuple[str, ...] = ("threshold", "top_k", "format")

    def __init__(self, card: Card, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        self.card = card
        self.detector = Detector(card, self.what)
        self.outputs = self.detector.outputs

    def params(self, given: Mapping[str, object]) -> Params:
        """Read ``threshold``, 0 to 1 (default 0.5); ``top_k``, how many at most; ``format``, json (the default), coco, yolo or voc.

        Raises `BadParameter`.
        """
        return found.params(given, what=self.what, knows=self.knows)

    def answer(self, row: Row, params: Params, prepared: Prepared) -> list[dict[str, Any]] | dict[str, Any] | File:
        """Return what was found, best first, in the format that was asked for.

        Raises `ExportwebError` if the outputs are not finite.
        """
        frame = self.detector.frame(prepared)
        detections = self.detector.find(row, frame, threshold=params.threshold, most=params.top_k)
        objects = [self._object(row, detections.take(i), frame, params) for i in range(len(detections.scores))]
        return found.answer(objects, params, size=frame.size, labels=self.card.labels, points=self.card.keypoints)

    def _object(self, row: Row, one: Detections, frame: Frame, params: Params) -> Found:
        """Return one object, given as the single values of its detection."""
        left, top, right, bottom = one.boxes.tolist()
        index = int(one.classes)
        return Found(index, self.detector.label(index), float(one.scores), (left, top, right, bottom))
