"""ONNX files that Ultralytics exported: YOLOv5u, v8, v11 and their like, which say in their metadata what they are."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from exportweb import artifact
from exportweb.card import Output
from exportweb.errors import CardError
from exportweb.labels import flow_names
from exportweb.runtime.session import Port

TASKS = {
    "detect": "object-detection",
    "segment": "instance-segmentation",
    "pose": "keypoint-detection",
    "classify": "image-classification",
}

FILL = 114
"""The grey around a letterboxed picture."""


class Exported(NamedTuple):
    """What the metadata say: the task (None if it is one that isn't served), class names, (height, width) in pixels, names of points."""

    task: str | None
    names: tuple[str, ...]
    size: tuple[int, int] | None
    points: tuple[str, ...]


def exported(path: str | os.PathLike[str]) -> Exported | None:
    """Read what Ultralytics wrote into a file; None if it didn't."""
    said = artifact.metadata(path)
    if said.get("author") != "Ultralytics" or "names" not in said:
        return None
    size = [int(side) for side in re.findall(r"\d+", said.get("imgsz", ""))]
    points = [int(count) for count in re.findall(r"\d+", said.get("kpt_shape", ""))]
    if points and points[-1] != 3:
        raise CardError(f"{path} has points of {points[-1]} numbers; what is served has x, y and a score.")
    return Exported(
        task=TASKS.get(said.get("task", "")),
        names=tuple(flow_names(said["names"]) or ()),
        size=(size[0], size[-1]) if size else None,
        points=tuple(f"point_{i}" for i in range(points[0])) if points else (),
    )


def outputs(path: str | os.PathLike[str], ports: tuple[Port, ...], task: str, labels: int | None, points: int) -> tuple[Output, ...]:
    """Return the outputs of a graph with YOLO's head, with their roles, from their shapes: [N, 4 + C + M, A], or [N, D, 6 + M] after
    suppression; and for masks [N, 32, h, w] beside it.

    Raises `CardError` if they are none, or of another number of classes than there are `labels` (None: any).
    """
    more = 3 * points if task == "keypoint-detection" else 32 if task == "instance-segmentation" else 0
    shape = ports[0].shape
    if len(shape) != 3:
        raise CardError(_unlike(path, ports))
    if shape[2] == 6 + more:
        role = "detections"
    else:
        role, classes = "yolo", None if shape[1] is None else shape[1] - 4 - more
        if shape[1] is not None and shape[2] is not None and shape[1] > shape[2]:
            raise CardError(f"{_unlike(path, ports)} YOLOv5's own files answer so; export it by Ultralytics: yolo export format=onnx.")
        if classes is not None and classes < 1:
            raise CardError(_unlike(path, ports))
        if classes is not None and labels not in (None, classes):
            raise CardError(f"{path} has {classes} classes, but {labels} labels were given; it takes them in their order.")
        if labels is None and (classes is None or more):
            raise CardError(f"{path} doesn't say how many classes it has; give their names: --labels data.yaml")
    found = [Output(name=ports[0].name, role=role)]
    if task == "instance-segmentation":
        if len(ports) < 2 or len(ports[1].shape) != 4:
            raise CardError(f"{_unlike(path, ports)} Instance segmentation needs a second one, [N, 32, h, w].")
        found.append(Output(name=ports[1].name, role="prototypes"))
    return tuple(found)


def _unlike(path: str | os.PathLike[str], ports: tuple[Port, ...]) -> str:
    have = ", ".join(f"{port.name!r} ({port.describe()})" for port in ports)
    return f"{path} should answer as Ultralytics' YOLO does, [N, 4 + classes, A] or [N, D, 6]; it has {have}."
