"""What was found in a picture, and what a client may ask about it: the part that all tasks of detection and segmentation share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from exportweb.runtime import formats, parameters
from exportweb.runtime.masks import Mask
from exportweb.runtime.tasks import File

THRESHOLD = 0.5

MASKS = ("png", "rle", "none")


class Point(NamedTuple):
    """A named place in the upright picture, in pixels."""

    label: str
    x: float
    y: float
    score: float


class Found(NamedTuple):
    """An object or a region of the upright picture. `category` is the place of its label in the card, `box` x0, y0, x1, y1 in pixels; what
    the task doesn't find is None.
    """

    category: int
    label: str
    score: float | None
    box: tuple[float, float, float, float]
    mask: Mask | None = None
    points: tuple[Point, ...] | None = None


class Params(msgspec.Struct, frozen=True):
    """What a client may ask for: from which score on, how many at most, masks as what, the answer as what."""

    threshold: float = THRESHOLD
    top_k: int | None = None
    masks: str = "png"
    format: str = "json"


def params(given: Mapping[str, object], *, what: str, knows: Sequence[str], writes: Sequence[str] = formats.FORMATS) -> Params:
    """Read the parameters that a task `knows`; raise `BadParameter` for others, and for values that aren't possible. `writes` are the
    formats, besides JSON, that it has.
    """
    parameters.known(given, knows, what=what)
    return Params(
        threshold=parameters.share(given, "threshold", THRESHOLD),
        top_k=parameters.count(given, "top_k"),
        masks=parameters.choice(given, "masks", MASKS),
        format=parameters.choice(given, "format", ("json", *writes)),
    )


def answer(
    found: Sequence[Found], params: Params, *, size: tuple[int, int], labels: Sequence[str], points: Sequence[str] = (), boxes: bool = True
) -> list[dict[str, Any]] | dict[str, Any] | File:
    """Return the answer in the format that was asked for.

    `size` is (width, height) of the upright picture, `labels` are the card's, `points` its keypoints; without `boxes` JSON has none.
    """
    if params.format != "json":
        return formats.write(params.format, found, size=size, labels=labels, points=points)
    return [_plain(one, params.masks, boxes) for one in found]


def _plain(one: Found, masks: str, boxes: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"label": one.label, "score": one.score}
    if boxes:
        entry["box"] = dict(zip(("xmin", "ymin", "xmax", "ymax"), one.box, strict=True))
    if one.mask is not None and masks != "none":
        entry["mask"] = one.mask.png() if masks == "png" else one.mask.rle()
    if one.points is not None:
        entry["keypoints"] = [point._asdict() for point in one.points]
    return entry
