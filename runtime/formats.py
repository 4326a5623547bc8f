"""Answers in the formats that datasets are annotated in: COCO's JSON, YOLO's lines, VOC's XML; of one picture, whose name nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

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
    """Return a line for each box: class, centre x and y, width and height, as shares of the picture's; then each keypoint's x, y and 2."""
    width, height = size
    lines = []
    for one in found:
        left, top, right, bottom = one.box
        values = [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height]
        line = f"{one.category} {' '.join(f'{value:.6f}' for value in values)}"
        for point in one.points or ():
            line += f" {_within(point.x / width):.6f} {_within(point.y / height):.6f} {_VISIBLE}"
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


def _within(share: float) -> float:
    return min(max(share, 0.0), 1.0)
