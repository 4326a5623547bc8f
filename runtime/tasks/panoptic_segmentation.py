"""Panoptic segmentation: every pixel belongs to one thing, or to one region of stuff, or to nothing that was recognised.

Answers are ``[{"label": "cat", "score": 0.93, "mask": ...}, {"label": "sky", "score": null, "mask": ...}, ...]``: things, best first, then
stuff in the order of its classes. What may overlap in the graph's outputs, `exportweb.runtime.panoptic` takes apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exportweb.card import Card
from exportweb.runtime import found, masks, panoptic, semantic
from exportweb.runtime.detections import Detections, Detector, output
from exportweb.runtime.found import Found, Params
from exportweb.runtime.reader import Prepared, Row
from exportweb.runtime.tasks import File


class PanopticSegmentation:
    """The task of a card with the outputs of object detection, one of role ``"masks"`` or ``"image-masks"``, and ``"semantic"``, whose
    classes are the card's `stuff`: the first of them stands for all things, and is no region of its own.

    Raises `CardError` if an output is missing.
    """

    what = "panoptic segmentation"

    def __init__(self, card: Card, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        self._detector = Detector(card, self.what)
        self._masks = output(card, ("masks", "image-masks"), self.what)
        self._semantic = output(card, ("semantic",), self.what).name
        self.outputs = (*self._detector.outputs, self._masks.name, self._semantic)
        self._things, self._stuff = card.labels, card.stuff

    def params(self, given: Mapping[str, object]) -> Params:
        """Read ``threshold``, the least score of a thing, 0 to 1 (default 0.5); ``top_k``, how many segments at most; ``masks``, png (the
        default), rle or none; ``format``, json or coco.

        Raises `BadParameter`.
        """
        return found.params(given, what=self.what, knows=("threshold", "top_k", "masks", "format"), writes=("coco",))

    def answer(self, row: Row, params: Params, prepared: Prepared) -> list[dict[str, Any]] | dict[str, Any] | File:
        """Return the segments, which don't overlap. Raises `ExportwebError` if the outputs are not finite."""
        frame = self._detector.frame(prepared)
        things = self._detector.find(row, frame, threshold=params.threshold)
        values = row[self._masks.name]
        covered = [masks.upright(self._masks, values[place], box, frame) for place, box in zip(things.places, things.boxes, strict=True)]
        segments = panoptic.merge(covered, semantic.classes(row[self._semantic], frame))
        answers = [self._segment(one, things) for one in segments[: params.top_k]]
        return found.answer(answers, params, size=frame.size, labels=(*self._things, *self._stuff[1:]), boxes=False)

    def _segment(self, one: panoptic.Segment, things: Detections) -> Found:
        if one.thing is not None:
            index = int(things.classes[one.thing])
            return Found(index, self._detector.label(index), float(things.scores[one.thing]), one.mask.box, one.mask)
        name = self._stuff[one.stuff] if one.stuff < len(self._stuff) else f"stuff_{one.stuff}"
        return Found(len(self._things) + one.stuff - 1, name, None, one.mask.box, one.mask)
