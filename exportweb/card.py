"""The card: what a model does, as data.

A card travels inside its artifact as JSON. Every framework's adapter can write one and every consumer can read one; nothing
in it is specific to the framework that trained the model. Fields that a reader doesn't know are ignored, so that a newer
card stays readable; `format` grows only when an old reader would misunderstand.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from exportweb.errors import CardError

FORMAT = 1

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "linear"]
Resize = Literal["shortest", "bounded", "cover", "contain", "exact", "none"]


class ImageInput(msgspec.Struct, frozen=True, kw_only=True):
    """How an image becomes the graph's input.

    The upright image is converted to `color`, resized, then cropped (or padded with `fill`: one value for all channels, or
    one for each in the order of `color`) around its centre to `height` x `width`; where both are 0, the graph takes images of any
    size, and nothing is cropped. `resize` says what `resize_height` and `resize_width`, in pixels, mean:

    - ``"shortest"``: the shortest edge becomes `resize_height` (= `resize_width`), the other follows, truncated to an integer; where it
      would be more than `resize_max` (0: as long as it gets), it becomes `resize_max`, and the shortest edge follows. The sizes are
      those of torchvision's `Resize` and of DETR's processors.
    - ``"bounded"``: the same, but both sides are rounded as detectron2's `ResizeShortestEdge` does.
    - ``"cover"``: the image is scaled, ratio kept, until it just covers both of them; sides are rounded.
    - ``"contain"``: the image is scaled, ratio kept, until it just fits inside both of them; sides are rounded.
    - ``"exact"``: both are taken as they are; the ratio changes.
    - ``"none"``: no resize.

    `interpolation` is Pillow's, whose filters grow with what they shrink, or ``"linear"``, OpenCV's INTER_LINEAR, which looks at four
    pixels however much the image shrinks (within 1 of OpenCV's value).

    `dtype` ``"uint8"`` with `layout` ``"NHWC"`` is what exportweb's own exporters write: the graph normalises, and `mean` and
    `std` only tell the reader how. With ``"float32"`` (a foreign graph) the runtime computes ``(x / 255 - mean) / std`` itself.
    """

    height: int
    width: int
    name: str = "image"
    color: Literal["RGB", "BGR", "L"] = "RGB"
    dtype: Literal["uint8", "float32"] = "uint8"
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    resize: Resize = "shortest"
    resize_height: int
    resize_width: int
    resize_max: int = 0
    interpolation: Interpolation = "bicubic"
    fill: tuple[int, ...] = (0,)
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        """1 for grey, else 3."""
        return 1 if self.color == "L" else 3


ROLES: dict[str, int] = {
    "logits": 1,  # [classes]
    "probabilities": 1,  # [classes]
    "boxes": 2,  # float32 [D, 4]: x0, y0, x1, y1 in pixels of the graph's input
    "scores": 1,  # float32 [D], 0 to 1
    "classes": 1,  # int64 [D]: places in the card's labels
    "detections": 2,  # float32 [D, 6 + M]: a box, its score and its class, and M more numbers
    "masks": 3,  # float32 [D, M, M]: probabilities inside the box
    "image-masks": 3,  # [D, h, w]: probabilities, or whether, over the whole input of the graph
    "keypoints": 3,  # float32 [D, K, 3]: x, y in pixels of the graph's input, and a score
    "keypoint-heatmaps": 4,  # float32 [D, K, S, S]: logits inside the box
    "semantic": 3,  # float32 [C, h, w]: logits or probabilities of each class over the whole input of the graph
    "yolo": 2,  # float32 [4 + C + M, A]: centre, width and height in pixels of the graph's input, the score of each class, and M more
    "prototypes": 3,  # float32 [M, h, w] over the whole input of the graph: a mask's logits are their sum, times those M numbers
}
"""The dimensions that an output of each role has for one image. One that has them answers for the one image that the graph takes; one
with another in front answers for a batch. ``"tensor"``, any array of a model that takes arrays, has none of its own.
"""


UNSAMPLED = frozenset({"masks", "image-masks", "keypoint-heatmaps"})
"""Roles of outputs that exportweb puts into no golden sample: a picture for each object is too large for a card."""


class TensorInput(msgspec.Struct, frozen=True, kw_only=True):
    """An array that the graph takes as it is: its name there, its dtype (NumPy's name, ``"bfloat16"`` or ``"string"``), and its shape,
    None for each side that may have any length.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Output(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output of the graph: its name there, and the role that it plays in the task (see `ROLES`).

    `paste` is for ``"masks"``, each as large as its box: how one is laid into the image. ``"continuous"`` samples it at the centres of
    the image's pixels, as detectron2 does; ``"integer"`` resizes it to the box grown by a mask's pixel and cut to whole pixels, as
    torchvision does.
    """

    name: str
    role: str
    paste: Literal["continuous", "integer"] = "continuous"


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a version came from. `created` is ISO 8601 in UTC, `git` the commit of the training code if there is one."""

    framework: str
    model: str
    created: str
    epoch: int | None = None
    step: int | None = None
    metrics: dict[str, float] = {}
    packages: dict[str, str] = {}
    git: str | None = None


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """An array as data: NumPy dtype name, shape, and its little-endian C-order bytes, zlib-compressed (base64 in JSON)."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """One batch of graph inputs with the outputs that the training framework itself computed for these weights.

    Of an int8 graph, whose answers are its own, the outputs are those that ONNX Runtime computed when it was quantised.
    An output passes when ``max|got - expected| <= tolerance * max(1, max|expected|)``; of objects that were detected, that is what their
    counterparts may be off, in whatever order they come (see `exportweb.runtime.matching`).
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    tolerance: float


class Precision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """In which precision a graph computes, if not in float32, and what that changed.

    `name` is ``"fp16"`` or ``"int8"``. The rest was measured on `images` images, which also calibrated an int8 graph: `agreement` is the
    share of them whose top class is the one of the float32 model, `difference` the mean absolute difference of the scores (0 to 1);
    `accuracy_before` and `accuracy_after` are known where the images' classes are.
    """

    name: str
    images: int = 0
    agreement: float | None = None
    difference: float | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The definition of one version of one model, which takes images, described by `input`, or else the arrays of `inputs`.

    `digest` is ``"blake3:<hex>"`` of the artifact's bytes outside the card itself; `version` the number under which a store
    published it. Both are filled in by whoever writes the artifact. `labels` are the names of the classes; of a panoptic model, those of
    its things, and `stuff` the names of the channels of its semantic output, of which the first stands for all things. `keypoints` are the
    names of an object's points, in their order. `fallback` says why a TorchScript artifact isn't ONNX.
    """

    name: str
    task: str
    input: ImageInput | None = None
    inputs: tuple[TensorInput, ...] = ()
    outputs: tuple[Output, ...]
    source: Source
    labels: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()
    keypoints: tuple[str, ...] = ()
    fallback: str | None = None
    format: int = FORMAT
    version: int | None = None
    digest: str | None = None
    golden: Golden | None = None
    precision: Precision | None = None

    def encode(self) -> bytes:
        """Return the card as compact JSON, without metrics that aren't finite: JSON has no number for them."""
        metrics = {name: value for name, value in self.source.metrics.items() if math.isfinite(value)}
        return msgspec.json.encode(self.replace(source=msgspec.structs.replace(self.source, metrics=metrics)))

    @classmethod
    def decode(cls, data: bytes | str) -> Card:
        """Read a card from JSON.

        Raises `CardError` if the JSON is not a card, or one of a newer format than this exportweb reads.
        """
        try:
            card = _decode(data)
        except msgspec.DecodeError as error:  # ValidationError is one of them
            raise CardError(f"The card can't be read: {error}.") from error
        if card.format > FORMAT:
            raise CardError(f"The card has format {card.format}; this exportweb reads up to {FORMAT}. Update exportweb.")
        return card

    def replace(self, **changes: object) -> Card:
        """Return a copy with these fields changed."""
        return msgspec.structs.replace(self, **changes)


# Made here, once: two threads that each are the first to decode a Struct crash in msgspec (0.22), which prepares it at that moment.
_decode = msgspec.json.Decoder(Card).decode
