"""Semantic segmentation: scores of each class over the picture in, the region of each class out.

Answers are ``[{"label": "sky", "score": null, "mask": ...}, ...]``, the largest region first; masks are those of instance segmentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from exportweb.card import Card
from exportweb.errors import CardError
from exportweb.runtime import found, semantic
from exportweb.runtime.detections import output
from exportweb.runtime.found import Found, Params
from exportweb.runtime.frame import frame
from exportweb.runtime.masks import Mask
from exportweb.runtime.reader import Prepared, Row
from exportweb.runtime.tasks import File


class SemanticSegmentation:
    """The task of a card with an output of role ``"semantic"``: scores of each class, of any size over the whole input of the graph.

    Raises `CardError` if there is none, or if the labels are not as many as its classes.
    """

    what = "semantic segmentation"

    def __init__(self, card: Card, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        name = output(card, ("semantic",), self.what).name
        if card.input is None:
            raise CardError("Semantic segmentation needs an image; the card's input are arrays.")
        shape = shapes[name]
        classes = shape[-3] if len(shape) >= 3 else None
        if card.labels and classes not in (None, len(card.labels)):
            raise CardError(f"The card has {len(card.labels)} labels, but output {name!r} has {classes} classes.")
        self.outputs = (name,)
        self._input, self._labels = card.input, card.labels

    def params(self, given: Mapping[str, object]) -> Params:
        """Read ``top_k``, how many regions at most; ``masks``, png (the default), rle or none; ``format``, json or coco.

        Raises `BadParameter`.
        """
        return found.params(given, what=self.what, knows=("top_k", "masks", "format"), writes=("coco",))

    def answer(self, row: Row, params: Params, prepared: Prepared) -> list[dict[str, Any]] | dict[str, Any] | File:
        """Return the regions, the largest first."""
        assert prepared.size is not None
        classes = semantic.classes(row[self.outputs[0]], frame(self._input, *prepared.size))
        counts = np.bincount(classes.reshape(-1))
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)][: params.top_k]
        regions = [self._region(int(index), classes == index, prepared.size) for index in order]
        return found.answer(regions, params, size=prepared.size, labels=self._labels, boxes=False)

    def _region(self, index: int, pixels: Any, size: tuple[int, int]) -> Found:
        mask = Mask(pixels, 0, 0, size)
        return Found(index, self._labels[index] if self._labels else f"class_{index}", None, mask.box, mask)
