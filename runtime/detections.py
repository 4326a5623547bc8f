"""Detections: the boxes of a picture with their scores and classes, whatever form the graph gives them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exportweb.card import Card, Output
from exportweb.errors import CardError, ExportwebError
from exportweb.runtime import boxes as box
from exportweb.runtime.frame import Frame, frame
from exportweb.runtime.reader import Prepared, Row

_FORMS = (("boxes", "scores"), ("detections",), ("yolo",))

_YOLO_OVERLAP = 0.7  # Ultralytics' own


class Detections(NamedTuple):
    """The detections of a picture, best first. `boxes` are float32 [D, 4] in pixels of the upright picture and lie in it, `placed` the same
    in pixels of the graph's input; `scores` are float32 [D], `classes` int64 [D], `places` int64 [D]: where each was in the outputs.
    """

    boxes: NDArray[np.float32]
    placed: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    places: NDArray[np.int64]

    def take(self, which: Any) -> Detections:
        """Return some of them, by an index as NumPy has it."""
        return Detections(*(array[which] for array in self))


class Detector:
    """Finds detections in the outputs of a graph: ``"boxes"`` with ``"scores"`` and, where there is more than one class, ``"classes"``;
    or ``"detections"``; or ``"yolo"``, whose boxes overlap as they come.

    Raises `CardError` if the card has none of these.
    """

    def __init__(self, card: Card, what: str) -> None:
        self._names = {output.role: output.name for output in card.outputs}
        form = next((form for form in _FORMS if all(role in self._names for role in form)), None)
        if card.input is None or form is None:
            roles = ", ".join(self._names) or "none"
            raise CardError(
                f"{what} needs an image, and outputs of the roles 'boxes' and 'scores', or 'detections', or 'yolo'; the card has {roles}."
            )
        self._input, self._form, self._labels = card.input, form[0], card.labels
        self.outputs = tuple(self._names[role] for role in (*form, "classes") if role in self._names)

    def frame(self, prepared: Prepared) -> Frame:
        """Return where a picture lies in the graph's input."""
        assert prepared.size is not None
        return frame(self._input, *prepared.size)

    def label(self, index: int) -> str:
        """Return the name of a class."""
        return self._labels[index] if index < len(self._labels) else f"class_{index}"

    def find(self, row: Row, frame: Frame, *, threshold: float, most: int | None = None) -> Detections:
        """Return the detections whose score is above `threshold`, at most `most`; those without any extent in the picture are left out.

        Raises `ExportwebError` if one isn't finite.
        """
        placed, scores, classes = getattr(self, f"_{self._form}")(row)
        places = np.flatnonzero(~(scores <= threshold))
        if not (np.isfinite(placed[places]).all() and np.isfinite(scores[places]).all()):
            raise ExportwebError("The model's boxes or scores for this image are not finite, so there is no answer.")
        places = places[np.argsort(-scores[places], kind="stable")]
        placed, scores, classes = placed[places], scores[places], classes[places]
        if self._form == "yolo":
            kept = box.suppress(placed, scores, classes, overlap=_YOLO_OVERLAP)
            placed, scores, classes, places = placed[kept], scores[kept], classes[kept], places[kept]
        upright = box.clipped(box.upright(placed.reshape(-1, 2, 2), frame).reshape(-1, 4), frame.size)
        return Detections(upright, placed, scores, classes, places).take(box.not_empty(upright)).take(slice(most))

    @property
    def has_more(self) -> bool:
        """Whether the outputs can hold more numbers of each object than a detection needs."""
        return self._form != "boxes"

    def more(self, row: Row, place: int) -> NDArray[np.float32]:
        """Return those numbers of the object at `place`: float32 [M]."""
        values = _floats(row[self._names[self._form]])
        return values[place, 6:] if self._form == "detections" else values[4 + len(self._labels) :, place]

    def _boxes(self, row: Row) -> tuple[Any, ...]:
        scores = _floats(row[self._names["scores"]])
        classes = row[self._names["classes"]].astype(np.int64, copy=False) if "classes" in self._names else np.zeros(len(scores), np.int64)
        return _floats(row[self._names["boxes"]]), scores, classes

    def _detections(self, row: Row) -> tuple[Any, ...]:
        values = _floats(row[self._names["detections"]])
        return values[:, :4], values[:, 4], values[:, 5].astype(np.int64)

    def _yolo(self, row: Row) -> tuple[Any, ...]:
        values = _floats(row[self._names["yolo"]])
        scores = values[4 : 4 + len(self._labels)] if self._labels else values[4:]
        classes = scores.argmax(axis=0)
        return box.corners(values[:4].T), np.take_along_axis(scores, classes[None], axis=0)[0], classes


def output(card: Card, roles: tuple[str, ...], what: str) -> Output:
    """Return the card's output that has one of these roles. Raises `CardError` if none has."""
    for found in card.outputs:
        if found.role in roles:
            return found
    have = ", ".join(output.role for output in card.outputs) or "none"
    raise CardError(f"{what} needs an output of the role {' or '.join(map(repr, roles))}; the card has {have}.")


def _floats(array: NDArray[Any]) -> NDArray[np.float32]:
    return array.astype(np.float32, copy=False)
