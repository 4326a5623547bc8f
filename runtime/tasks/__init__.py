"""Tasks: what a graph's outputs mean. One module a task, imported when a model of that task is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from exportweb.card import Card
from exportweb.errors import CardError
from exportweb.runtime.reader import Prepared, Row

_TASKS = {
    "image-classification": "image_classification:ImageClassification",
    "instance-segmentation": "instance_segmentation:InstanceSegmentation",
    "keypoint-detection": "keypoint_detection:KeypointDetection",
    "object-detection": "object_detection:ObjectDetection",
    "panoptic-segmentation": "panoptic_segmentation:PanopticSegmentation",
    "semantic-segmentation": "semantic_segmentation:SemanticSegmentation",
    "tensor": "tensor:Tensor",
}


class File(NamedTuple):
    """An answer that is a file, for a client that asked for one in place of JSON."""

    media_type: str
    data: bytes


class Task(Protocol):
    """What a module of this folder provides: a class that is made from a card and the shapes of the graph's outputs.

    `outputs` names the graph's outputs that `answer` needs.
    """

    outputs: tuple[str, ...]

    def __init__(self, card: Card, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        """Raise `CardError` if the card or the shapes don't fit the task."""

    def params(self, given: Mapping[str, object]) -> Any:
        """Check what a client asked for; raise `BadParameter` for an unknown name or a value out of range."""

    def answer(self, row: Row, params: Any, prepared: Prepared) -> Any:
        """Turn the outputs for one request, and the request itself, into an answer that JSON can hold, or a `File`."""


@runtime_checkable
class Together(Protocol):
    """A task that does a part of its work for a whole batch at once.

    Each call of NumPy on more than some hundred numbers lets go of the GIL, and where many threads want it, having it again takes longer
    than the call: a dozen for a batch cost less than a few for each image.
    """

    def together(self, outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a batch's outputs with what was computed from them, row by row like these, for `answer` to find."""


def load(card: Card, shapes: Mapping[str, tuple[int | None, ...]]) -> Task:
    """Return the task that a card names, for a graph whose outputs have these shapes.

    Raises `CardError` for a task that this exportweb doesn't know.
    """
    if card.task not in _TASKS:
        raise CardError(f"The card's task is {card.task!r}; this exportweb serves {', '.join(sorted(_TASKS))}.")
    module, name = _TASKS[card.task].split(":")
    make: type[Task] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return make(card, shapes)
