"""A graph with the head of a YOLO, as Ultralytics exports one, whose answers are obvious: each cell of 8 x 8 pixels is a box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tensors import FLOAT, model

NAMES = {0: "red", 1: "green", 2: "it's blue"}
METADATA = {"author": "Ultralytics", "task": "detect", "imgsz": "[64, 64]", "names": str(NAMES), "stride": "32", "args": "{'nms': False}"}

CELL = 8


def graph(*, side: int = 64, more: int = 0, suppressed: bool = False, metadata: dict[str, str] | None = METADATA) -> bytes:
    """Return a graph of images float32 [1, 3, side, side] that answers [1, 4 + 3 + more, A], A cells: the scores are the channels' means.

    The `more` numbers are 1, 2, 3, ...; with 32 of them there are 32 prototypes [1, 32, side / 4, side / 4], too: the first is 1 in the
    upper half and -1 in the lower, the others are 0. `suppressed`, it answers [1, A, 6 + more] with every box.
    """
    count = side // CELL
    places = (np.arange(count, dtype=np.float32) + 0.5) * CELL
    centres = np.stack(np.meshgrid(places, places), axis=0).reshape(1, 2, -1)
    sizes = np.full_like(centres, CELL)
    extra = np.broadcast_to(np.arange(1, more + 1, dtype=np.float32)[None, :, None], (1, more, count * count))
    constants: dict[str, Any] = {"flat": np.array([1, 3, -1]), "extra": extra}
    nodes = [
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Reshape", ["means", "flat"], ["scores"]),
    ]
    outputs = [("output0", FLOAT, [1, 7 + more, count * count])]
    if suppressed:
        constants["boxes"] = np.concatenate([centres - CELL / 2, centres + CELL / 2], axis=1)
        nodes += [
            helper.make_node("ReduceMax", ["scores", "one"], ["best"], keepdims=1),
            helper.make_node("ArgMax", ["scores"], ["index"], axis=1, keepdims=1),
            helper.make_node("Cast", ["index"], ["class"], to=FLOAT),
            helper.make_node("Concat", ["boxes", "best", "class", "extra"], ["columns"], axis=1),
            helper.make_node("Transpose", ["columns"], ["output0"], perm=[0, 2, 1]),
        ]
        constants["one"] = np.array([1])
        outputs = [("output0", FLOAT, [1, count * count, 6 + more])]
    else:
        constants["boxes"] = np.concatenate([centres, sizes], axis=1)
        nodes.append(helper.make_node("Concat", ["boxes", "scores", "extra"], ["output0"], axis=1))
    if more == 32:
        prototypes = np.zeros((1, 32, side // 4, side // 4), np.float32)
        prototypes[:, 0] = np.where(np.arange(side // 4) < side // 8, 1, -1)[:, None]
        constants["prototypes"] = prototypes
        nodes.append(helper.make_node("Identity", ["prototypes"], ["output1"]))
        outputs.append(("output1", FLOAT, [1, 32, side // 4, side // 4]))
    made = onnx.load_model_from_string(model(nodes, [("images", FLOAT, [1, 3, side, side])], outputs, constants))
    if metadata is not None:
        helper.set_model_props(made, metadata)
    data: bytes = made.SerializeToString()
    return data


def write(folder: Path, **options: Any) -> Path:
    """Write it to a file."""
    path = folder / "cells.onnx"
    path.write_bytes(graph(**options))
    return path
