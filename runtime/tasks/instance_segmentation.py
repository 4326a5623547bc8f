"""Instance segmentation: object detection with a mask of each object, as large as the upright picture.

Answers are those of object detection with ``"mask"``: a PNG in base64, grey, 255 where the object is; or, with ``?masks=rle``, COCO's
compressed run lengths.
"""

from __future__ import annotations

from collections.abc import Mapping

from exportweb.card import Card
from exportweb.runtime import masks
from exportweb.runtime.detections import Detections, output
from exportweb.runtime.found import Found, Params
from exportweb.runtime.frame import Frame
from exportweb.runtime.reader import Row
from exportweb.runtime.tasks.object_detection import ObjectDetection


class InstanceSegmentation(ObjectDetection):
    """The task of a card with an output of role ``"masks"`` or ``"image-masks"`` beside those of object detection, or ``"prototypes"``
    beside one that has more numbers of each object.

    Raises `CardError` if one is missing.
    """

    what = "instance segmentation"
    knows = ("threshold", "top_k", "masks", "format")

    def __init__(self, card: Card, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        super().__init__(card, shapes)
        self._output = output(card, ("masks", "image-masks", *(("prototypes",) if self.detector.has_more else ())), self.what)
        self.outputs = (*self.outputs, self._output.name)

    def _object(self, row: Row, one: Detections, frame: Frame, params: Params) -> Found:
        found = super()._object(row, one, frame, params)
        if params.masks == "none" and params.format not in ("coco", "yolo"):
            return found
        values, place = row[self._output.name], int(one.places)
        if self._output.role == "prototypes":
            return found._replace(mask=masks.combined(values, self.detector.more(row, place), one.boxes, frame))
        return found._replace(mask=masks.upright(self._output, values[place], one.boxes, frame))
