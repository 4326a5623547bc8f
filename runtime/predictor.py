"""A predictor: one immutable loaded version, from an image's bytes to an answer.

The steps of a prediction are methods of their own, so that a scheduler can run them in different threads and batches:
`prepare` (decode, resize), `infer` (a batch), `answer` (one row of it).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exportweb import artifact as artifacts
from exportweb.artifact import Artifact
from exportweb.card import Card
from exportweb.errors import ArtifactError, CardError
from exportweb.runtime import tasks
from exportweb.runtime.images import decode
from exportweb.runtime.preprocess import Preprocess
from exportweb.runtime.session import OnnxSession

MAX_PIXELS = 50_000_000

Array = NDArray[Any]


class Prepared(NamedTuple):
    """An image as the graph wants it, without the batch dimension, and the seconds that its stages took."""

    array: Array
    decode: float
    resize: float


class Predictor:
    """A card and the session that runs its graph.

    `max_batch` is the largest batch that the graph takes: 1 where its batch dimension is fixed, else None.

    Raises `CardError` if card and graph don't fit each other.
    """

    def __init__(self, card: Card, session: OnnxSession) -> None:
        self.card = card
        self.session = session
        self.max_batch = _check_input(card, session)
        shapes = {port.name: port.shape for port in session.outputs}
        for output in card.outputs:
            if output.name not in shapes:
                raise CardError(f"The card names an output {output.name!r}; the graph has {', '.join(map(repr, shapes))}.")
        self.task = tasks.load(card, shapes)
        self._preprocess = Preprocess(card.input)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0, card: Card | None = None) -> Predictor:
        """Load an artifact whose bytes match the digest in its card.

        `device` and `threads` are those of `OnnxSession`; `card` is for an ONNX file without one (see `card_for_onnx`), and goes
        before the one that a file has.

        Raises `ArtifactError`, `CardError`, `DeviceError`, or `OSError` if the file can't be read.
        """
        artifact = read(path)
        artifacts.verify(artifact)
        card = card or artifact.card
        if card is None:
            raise CardError(no_card(path))
        return cls(card, OnnxSession(path, device=device, threads=threads))

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that the session really has, the preferred first."""
        return self.session.providers

    @property
    def device(self) -> str:
        """Where the graph runs: ``"cpu"`` or ``"cuda:N"``."""
        return self.session.device

    def predict(self, data: bytes, *, max_pixels: int = MAX_PIXELS, **params: object) -> Any:
        """Answer for one image, given as the bytes of a file in any format that `runtime.images` reads.

        Raises `RequestError` for an image or parameter that can't be used.
        """
        checked = self.task.params(params)
        (row,) = self.infer([self.prepare(data, max_pixels=max_pixels).array])
        return self.task.answer(row, checked)

    def prepare(self, data: bytes, *, max_pixels: int = MAX_PIXELS) -> Prepared:
        """Decode, resize and crop one image."""
        start = time.perf_counter()
        image = decode(data, max_pixels=max_pixels)
        decoded = time.perf_counter()
        array = self._preprocess(image)
        return Prepared(array, decoded - start, time.perf_counter() - decoded)

    def infer(self, batch: Sequence[Array]) -> list[dict[str, Array]]:
        """Run the graph on prepared images; return the outputs that the task needs, image by image."""
        stacked = batch[0][np.newaxis] if len(batch) == 1 else np.stack(batch)
        outputs = self.session.run({self.card.input.name: stacked}, self.task.outputs)
        return [{name: rows[i] for name, rows in outputs.items()} for i in range(len(batch))]

    def blank(self, count: int) -> list[Array]:
        """Return prepared grey images, to warm and check a session with."""
        wanted = self.card.input
        sides = (wanted.height, wanted.width)
        shape = (*sides, wanted.channels) if wanted.layout == "NHWC" else (wanted.channels, *sides)
        return [np.full(shape, 127 if wanted.dtype == "uint8" else 0, wanted.dtype)] * count


def read(path: str | os.PathLike[str]) -> Artifact:
    """Read an artifact's card, with an explanation for a TorchScript file.

    Raises what `exportweb.artifact.read` raises.
    """
    with Path(path).open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            raise ArtifactError(f"{path} is TorchScript or another zip file, which holds code; what is served is ONNX.")
    return artifacts.read(path)


def no_card(path: str | os.PathLike[str]) -> str:
    """Explain what to do about an ONNX file without a card."""
    return (
        f"{path} has no card, so nothing says what its input and outputs mean. Say it: "
        "--task image-classification --labels labels.txt --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
    )


def _check_input(card: Card, session: OnnxSession) -> int | None:
    """Compare the card's input with the graph's; return 1 if the graph's batch is fixed at one image, None if it is free."""
    wanted = card.input
    if [port.name for port in session.inputs] != [wanted.name]:
        names = ", ".join(repr(port.name) for port in session.inputs)
        raise CardError(f"The card describes one input, {wanted.name!r}; the graph has {names}.")
    port = session.inputs[0]
    sides = (wanted.height, wanted.width)
    shape = (*sides, wanted.channels) if wanted.layout == "NHWC" else (wanted.channels, *sides)
    fits = len(port.shape) == 4 and all(has in (None, want) for has, want in zip(port.shape[1:], shape, strict=True))
    if port.dtype != wanted.dtype or not fits:
        raise CardError(
            f"The card says that {wanted.name!r} is {wanted.dtype} [N, {', '.join(map(str, shape))}]; "
            f"the graph wants {port.dtype} {_text(port.shape)}."
        )
    if port.shape[0] not in (None, 1):
        raise CardError(f"The graph takes batches of exactly {port.shape[0]} images; export it with a dynamic batch, or with 1.")
    return port.shape[0]


def _text(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("N" if side is None else str(side) for side in shape) + "]"
