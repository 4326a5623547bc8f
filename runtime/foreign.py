"""A card for an ONNX file from elsewhere, from what its graph says and what the user adds."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from exportweb.card import Card, ImageInput, Interpolation, Output, Resize, Source, TensorInput
from exportweb.errors import CardError
from exportweb.runtime import ultralytics
from exportweb.runtime.convert import DTYPES
from exportweb.runtime.session import OnnxSession, Port

_NEEDED = "--task image-classification --labels labels.txt --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
_YOLO = ("object-detection", "instance-segmentation", "keypoint-detection")


def card_for_onnx(
    path: str | os.PathLike[str],
    *,
    task: str | None = None,
    labels: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    color: Literal["RGB", "BGR", "L"] | None = None,
    resize: Resize | None = None,
    resize_to: int | None = None,
    interpolation: Interpolation | None = None,
    probabilities: bool = False,
    name: str | None = None,
) -> Card:
    """Return a card for a model of any framework: an image classifier; a detector as Ultralytics exports YOLO; or, with `task`
    ``"tensor"``, whatever takes and answers arrays.

    The one input of a model of images has to be float32, [N, C, H, W] or [N, H, W, C], or uint8 [N, H, W, C], with fixed H and W and 1 or
    3 channels; a classifier's first output [N, classes], a detector's [N, 4 + classes, A] or [N, D, 6].

    `mean` and `std` are per channel, of pixels in 0..1: ``(x / 255 - mean) / std`` (one number serves all channels); a uint8 graph
    normalises itself and needs neither. `resize_to` is the edge in pixels before the centre crop (the input's own size by default).
    `probabilities` says that the graph ends in a softmax. A classifier's images are resized ``"shortest"`` and ``"bicubic"`` unless
    something else is said; a detector's are put in a grey frame as Ultralytics does it, with pixels in 0..1.

    Where nothing is said, a file of Ultralytics says itself what it is, and a graph whose input doesn't look like images is a
    ``"tensor"``; its inputs and outputs are described by the graph itself.

    Raises `CardError` that says what is missing, `ArtifactError` if the file can't be loaded.
    """
    session = OnnxSession(path, device="cpu", threads=1)
    described = probabilities or any(given is not None for given in (labels, mean, std, color, resize, resize_to, interpolation))
    yolo = ultralytics.exported(path)
    if task is None and yolo is not None:
        task = yolo.task
    if task == "tensor" or (task is None and not described and not _looks_like_images(session)):
        if described:
            raise CardError(
                f"{path} is served as arrays (--task tensor); labels, mean, std, color, resize and probabilities are an image's."
            )
        return _tensor_card(path, session, name)
    if task not in ("image-classification", *_YOLO):
        given = "no task was given" if task is None else f"the task given is {task!r}"
        raise CardError(
            f"{path} has no card, and {given}. What can be served without a card is an image classifier: {_NEEDED}, "
            f"a YOLO of Ultralytics: --task {' or '.join(_YOLO)}, or any model by its arrays: --task tensor"
        )
    labels = labels or (yolo.names if yolo is not None else None)
    image = _image_port(path, session)
    layout, height, width, channels = _sides(path, image, yolo.size if yolo is not None else None)
    if image.dtype == "uint8" or yolo is not None or task in _YOLO:
        mean, std = mean or [0.0], std or [1.0]
    if mean is None or std is None:
        raise CardError(f"{path} takes float32 images, so it has to be said how they are normalised: {_NEEDED}")
    edge = resize_to or max(height, width)
    if task == "image-classification":
        resize, interpolation, fill = resize or "shortest", interpolation or ("bilinear" if yolo is not None else "bicubic"), 0
        outputs = _classifier(path, session.outputs[0], labels, probabilities=probabilities or yolo is not None)
    else:
        resize, interpolation, fill = resize or "contain", interpolation or "linear", ultralytics.FILL
        points = yolo.points if yolo is not None else ()
        outputs = ultralytics.outputs(path, session.outputs, task, None if labels is None else len(labels), len(points))
    scaled = (edge, edge) if resize_to or resize == "shortest" else (height, width)
    return Card(
        name=name or Path(path).stem,
        task=task,
        input=ImageInput(
            name=image.name,
            height=height,
            width=width,
            color=color or ("L" if channels == 1 else "RGB"),
            dtype="uint8" if image.dtype == "uint8" else "float32",
            layout=layout,
            resize=resize,
            resize_height=scaled[0],
            resize_width=scaled[1],
            interpolation=interpolation,
            fill=(fill,) * channels,
            mean=_per_channel("mean", mean, channels),
            std=_per_channel("std", std, channels),
        ),
        outputs=outputs,
        labels=tuple(labels or ()),
        keypoints=yolo.points if yolo is not None and task == "keypoint-detection" else (),
        source=Source(framework="onnx" if yolo is None else "ultralytics", model=Path(path).name, created=_modified(path)),
    )


def _classifier(path: str | os.PathLike[str], output: Port, labels: Sequence[str] | None, *, probabilities: bool) -> tuple[Output, ...]:
    if len(output.shape) != 2:
        raise CardError(f"{path} should answer with [N, classes]; its first output {output.name!r} has {len(output.shape)} dimensions.")
    if labels is None and output.shape[1] is None:
        raise CardError(f"{path} doesn't say how many classes it has; give their names: --labels labels.txt, one a line.")
    if labels is not None and output.shape[1] not in (None, len(labels)):
        raise CardError(f"{path} has {output.shape[1]} classes, but {len(labels)} labels were given; it takes one a line, in their order.")
    return (Output(name=output.name, role="probabilities" if probabilities else "logits"),)


def _looks_like_images(session: OnnxSession) -> bool:
    """Whether the one input has the dtype of images, and a dimension where their channels would be."""
    if len(session.inputs) != 1:
        return False
    port = session.inputs[0]
    return port.dtype in ("uint8", "float16", "float32") and len(port.shape) == 4 and bool({1, 3} & {port.shape[1], port.shape[3]})


def _tensor_card(path: str | os.PathLike[str], session: OnnxSession, name: str | None) -> Card:
    for port in session.inputs:
        if port.dtype not in DTYPES:
            raise CardError(f"{path} takes {port.name!r} as {port.dtype}; what can be sent to it is {', '.join(DTYPES)}.")
    return Card(
        name=name or Path(path).stem,
        task="tensor",
        inputs=tuple(TensorInput(name=port.name, dtype=port.dtype, shape=port.shape) for port in session.inputs),
        outputs=tuple(Output(name=port.name, role="tensor") for port in session.outputs),
        source=Source(framework="onnx", model=Path(path).name, created=_modified(path)),
    )


def _image_port(path: str | os.PathLike[str], session: OnnxSession) -> Port:
    if len(session.inputs) != 1:
        names = ", ".join(repr(port.name) for port in session.inputs)
        raise CardError(f"{path} should have one input, the images; it has {names}.")
    port = session.inputs[0]
    if port.dtype not in ("float32", "uint8") or len(port.shape) != 4:
        raise CardError(
            f"{path} should take images, float32 or uint8 in four dimensions; "
            f"{port.name!r} is {port.dtype} in {len(port.shape)} dimensions."
        )
    if port.shape[0] not in (None, 1):
        raise CardError(f"{path} takes batches of exactly {port.shape[0]} images; export it with a dynamic batch, or with 1.")
    return port


def _sides(path: str | os.PathLike[str], port: Port, size: tuple[int, int] | None) -> tuple[Literal["NHWC", "NCHW"], int, int, int]:
    """Return the layout, height, width and channels of a graph's input; where it takes any size, `size` is the (height, width) to use."""
    _, a, b, c = port.shape
    if size is not None and a in (1, 3) and b is None and c is None:
        b, c = size
    if c in (1, 3) and a and b:
        return "NHWC", a, b, c
    if a in (1, 3) and b and c and port.dtype == "float32":
        return "NCHW", b, c, a
    sides = ", ".join("?" if side is None else str(side) for side in (a, b, c))
    raise CardError(
        f"{path} should take [N, 3, H, W] or [N, H, W, 3] (1 channel for grey; uint8 only as [N, H, W, C]) with fixed H and W; "
        f"{port.name!r} is {port.dtype} [N, {sides}]. Export it with the size that it was trained for."
    )


def _per_channel(what: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise CardError(f"--{what} has {len(values)} numbers; the model's images have {channels} channels.")
    if what == "std" and not all(value > 0 for value in values):
        raise CardError(f"--std has to be positive; it is {', '.join(map(str, values))}.")
    return tuple(float(value) for value in values) * (channels if len(values) == 1 else 1)


def _modified(path: str | os.PathLike[str]) -> str:
    time = datetime.datetime.fromtimestamp(Path(path).stat().st_mtime, datetime.timezone.utc)
    return time.isoformat(timespec="seconds")
