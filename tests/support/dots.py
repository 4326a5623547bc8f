"""A graph that finds dots, whose answers are obvious: every pixel that isn't black is an object."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from PIL import Image

from exportweb import Card
from exportweb.card import ImageInput, Output, Source
from exportweb.runtime import Predictor
from tensors import FLOAT, model

COLOURS = ("red", "green", "blue")


def graph(*, sides: Sequence[int | str] = ("h", "w")) -> bytes:
    """Return a graph of one uint8 image [1, h, w, 3]. Each dot's box is its pixel, its class the brightest channel, its score that
    channel's value / 255, its mask [2, 2] ones, its one keypoint its corner. ``semantic`` [3, h, w] are the channels.
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["batch"], to=FLOAT),
        helper.make_node("Squeeze", ["batch", "zero"], ["pixels"]),
        helper.make_node("ReduceMax", ["pixels", "two"], ["brightest"], keepdims=0),
        helper.make_node("NonZero", ["brightest"], ["indices"]),
        helper.make_node("Transpose", ["indices"], ["yx"], perm=[1, 0]),
        helper.make_node("Gather", ["yx", "swapped"], ["xy"], axis=1),
        helper.make_node("Cast", ["xy"], ["low"], to=FLOAT),
        helper.make_node("Add", ["low", "unit"], ["high"]),
        helper.make_node("Concat", ["low", "high"], ["boxes"], axis=1),
        helper.make_node("GatherND", ["pixels", "yx"], ["values"]),
        helper.make_node("ArgMax", ["values"], ["classes"], axis=1, keepdims=0),
        helper.make_node("ReduceMax", ["values", "one"], ["top"], keepdims=0),
        helper.make_node("Mul", ["top", "share"], ["scores"]),
        helper.make_node("Unsqueeze", ["scores", "one"], ["column"]),
        helper.make_node("Concat", ["low", "column"], ["points"], axis=1),
        helper.make_node("Unsqueeze", ["points", "one"], ["keypoints"]),
        helper.make_node("Unsqueeze", ["column", "two"], ["square"]),
        helper.make_node("Mul", ["square", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "ones"], ["masks"]),
        helper.make_node("Transpose", ["pixels"], ["semantic"], perm=[2, 0, 1]),
    ]
    constants = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "swapped": np.array([1, 0]),
        "unit": np.float32(1),
        "share": np.float32(1 / 255),
        "nothing": np.float32(0),
        "ones": np.ones((1, 2, 2), np.float32),
    }
    outputs = [
        ("boxes", FLOAT, ["d", 4]),
        ("scores", FLOAT, ["d"]),
        ("classes", TensorProto.INT64, ["d"]),
        ("masks", FLOAT, ["d", 2, 2]),
        ("keypoints", FLOAT, ["d", 1, 3]),
        ("semantic", FLOAT, [3, *sides]),
    ]
    return model(nodes, [("image", TensorProto.UINT8, [1, *sides, 3])], outputs, constants)


def card(task: str, *roles: str, **changes: Any) -> Card:
    """Return a card of that graph; the picture goes in as it is."""
    names = ("boxes", "scores", "classes") if "segmentation" not in task or "instance" in task or "panoptic" in task else ()
    input = ImageInput(height=0, width=0, resize="none", resize_height=0, resize_width=0, mean=(0.0,) * 3, std=(1.0,) * 3)
    return Card(
        name="dots",
        task=task,
        input=changes.pop("input", input),
        outputs=tuple(Output(name=name, role=name) for name in (*names, *roles)),
        source=Source(framework="numpy", model="dots", created="2026-01-02T03:04:05+00:00"),
        labels=COLOURS,
    ).replace(**changes)


def predictor(folder: Path, described: Card) -> Predictor:
    """Load it."""
    path = folder / "dots.onnx"
    path.write_bytes(graph())
    return Predictor.load(path, device="cpu", threads=1, card=described)


def picture(dots: dict[tuple[int, int], tuple[int, int, int]], size: tuple[int, int] = (20, 10)) -> bytes:
    """Return a PNG of `size` (width, height), black but for the dots: colours by x, y."""
    image = Image.new("RGB", size)
    for place, colour in dots.items():
        image.putpixel(place, colour)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


THREE = {(3, 2): (0, 204, 0), (17, 9): (255, 0, 0), (0, 0): (0, 0, 51)}
"""Scores 0.8, 1 and 0.2."""
