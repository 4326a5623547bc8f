"""Answers in the formats that datasets are annotated in: COCO's JSON, YOLO's lines, VOC's XML; of one picture, whose name nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

from exportweb.runtime.outline import outline
from exportweb.runtime.tasks import File

if TYPE_CHECKING:
    from exportweb.runtime.found import Found

FORMATS = ("coco", "yolo", "voc")

_VISIBLE = 2  # both in COCO's keypoints and in YOLO's


def write(
    format: str, found: Sequence[Found], *, size: tuple[int, int], labels: Sequence[str], points: Sequence[str]
) -> dict[str, Any] | File:
    """Return what was found in a picture of `size` (width, height) in one of `FORMATS`."""
    if format == "coco":
        return coco(found, size, labels, points)
    if format == "yolo":
        return File("text/plain; charset=utf-8", yolo(found, size).encode())
    return File("application/xml", voc(found, size).encode())


def coco(found: Sequence[Found], size: tuple[int, int], labels: Sequence[str], points: Sequence[str]) -> dict[str, Any]:
    """Return a dataset of one image, as pycocotools reads it: category ids are the places of the labels, from 1 on; boxes are x, y, width
    and height in pixels; masks are compressed run lengths. Each annotation has its score, too.
    """
    names = dict(enumerate(labels)) | {one.category: one.label for one in found}
    body: dict[str, Any] = {"keypoints": list(points), "skeleton": []} if points else {}
    return {
        "images": [{"id": 1, "file_name": "image", "width": size[0], "height": size[1]}],
        "categories": [{"id": index + 1, "name": name, **body} for index, name in sorted(names.items())],
        "annotations": [_annotation(i, one) for i, one in enumerate(found, start=1)],
    }


def yolo(found: Sequence[Found], size: tuple[int, int]) -> str:
    """Return a line for each object: its class; of a box centre x and y, width and height, then each keypoint's x, y and 2; of a mask with
    pixels the x and y of its outline, that of the largest part. All but the class and the 2 are shares of the picture's width and height.
    """
    lines = []
    for one in found:
        if one.mask is not None and len(polygon := outline(one.mask.window)):
            values = [float(value) for value in (np.add(polygon, (one.mask.left, one.mask.top)) / size).reshape(-1)]
        else:
            (left, top), (right, bottom) = (_shares(one.box[i : i + 2], size) for i in (0, 2))
            values = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        line = f"{one.category} {' '.join(f'{value:.6f}' for value in values)}"
        for point in one.points or ():
            x, y = (min(max(share, 0.0), 1.0) for share in _shares((point.x, point.y), size))
            line += f" {x:.6f} {y:.6f} {_VISIBLE}"
        lines.append(f"{line}\n")
    return "".join(lines)


def voc(found: Sequence[Found], size: tuple[int, int]) -> str:
    """Return Pascal VOC's XML: boxes in whole pixels that are counted from 1, the last one included."""
    objects = "".join(_object(one, size) for one in found)
    return (
        "<annotation>\n  <filename>image</filename>\n"
        f"  <size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>\n"
        f"  <segmented>0</segmented>\n{objects}</annotation>\n"
    )


def _annotation(number: int, one: Found) -> dict[str, Any]:
    left, top, right, bottom = one.box
    entry: dict[str, Any] = {
        "id": number,
        "image_id": 1,
        "category_id": one.category + 1,
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top) if one.mask is None else one.mask.area,
        "iscrowd": 0,
        "segmentation": [] if one.mask is None else one.mask.rle(),
    }
    if one.score is not None:
        entry["score"] = one.score
    if one.points is not None:
        entry["keypoints"] = [value for point in one.points for value in (point.x, point.y, _VISIBLE)]
        entry["num_keypoints"] = len(one.points)
    return entry


def _object(one: Found, size: tuple[int, int]) -> str:
    spans = [_pixels(one.box[axis], one.box[axis + 2], size[axis]) for axis in (0, 1)]
    (xmin, xmax), (ymin, ymax) = spans
    score = "" if one.score is None else f"<score>{one.score:.6f}</score>"
    return (
        f"  <object><name>{escape(one.label)}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
        f"<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>{score}</object>\n"
    )


def _pixels(low: float, high: float, side: int) -> tuple[int, int]:
    """Return the first and the last pixel of an interval, counted from 1: at least one."""
    first = min(round(low) + 1, side)
    return first, max(min(round(high), side), first)


def _shares(place: tuple[float, ...], size: tuple[int, int]) -> tuple[float, float]:
    return place[0] / size[0], place[1] / size[1]
