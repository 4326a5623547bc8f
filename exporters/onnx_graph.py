"""An ONNX graph, traced once, then written with new weights, each time checked by ONNX Runtime."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, BinaryIO

import numpy as np
import torch

from exportweb import artifact
from exportweb.card import Card
from exportweb.errors import ArtifactError, ExportError
from exportweb.exporters import any_size, golden, half
from exportweb.exporters.graph import Exported, export_graph
from exportweb.exporters.image_model import THRESHOLD, Detector, Outputs
from exportweb.exporters.template import Template
from exportweb.exporters.traced import Traced
from exportweb.exporters.weights import Snapshot
from exportweb.runtime.session import OnnxSession

_THREADS = 1  # for ONNX Runtime's check, since training wants the others


class Graph(Traced):
    """An ONNX graph, which ONNX Runtime checks."""

    suffix, engine = ".onnx", "ONNX Runtime"
    template: Template
    fp16 = False

    def _trace(self, example: np.ndarray) -> None:
        self._load(self.export(example))

    def _load(self, exported: Exported) -> None:
        self.template = Template(exported.whole, self.names)
        self._session = OnnxSession(exported.weightless, device="cpu", threads=_THREADS)

    def export(self, images: np.ndarray) -> Exported:
        """Trace the twin as it is now on images like these."""
        free = (0,) * self.description.batch + (1, 2) * (not self.description.input.height)
        return export_graph(
            self.twin, torch.from_numpy(images), self.names, outputs=self.outputs, free=free, tracer=self.description.tracer
        )

    def retraced(self, snapshot: Snapshot) -> bool:
        """Export again and compare."""
        self.borrow(snapshot)
        return self.export(self.sample).whole == b"".join(self.template.fill(snapshot.tensors))

    def shrink(self, snapshot: Snapshot) -> None:
        """Have versions checked with a small image from now on, if the graph answers images of other sizes, too, as PyTorch does.

        `snapshot` holds the weights that the twin is lent.
        """
        image = self.description.input
        if not (self.description.batch and image.height):
            return
        whole = image.height, image.width
        for small, odd in any_size.sizes(whole):
            batches = [golden.mosaic(image, batch=2, size=size) for size in (small, odd, whole)]
            if (expected := self._tried(batches)) is not None:
                self._free(snapshot, batches, expected)
                return

    def _tried(self, batches: Sequence[np.ndarray]) -> list[Outputs] | None:
        """Return what the model answers to images of several sizes; None if it doesn't take them, or if its answers differ in size."""
        trial = copy.deepcopy(self.twin)  # which may remember sizes
        try:
            answers = [golden.eager(trial, images, self.outputs) for images in batches]
        except Exception:  # whatever a model raises
            return None
        shapes = {tuple(answer[name].shape for name in self.outputs) for answer in answers}
        return answers if len(shapes) == 1 else None

    def _free(self, snapshot: Snapshot, batches: Sequence[np.ndarray], expected: Sequence[Outputs]) -> None:
        """Become a graph for images of any size, and take the first of these for a sample, if that holds for all of them."""
        exported = any_size.freed(b"".join(self.template.fill(snapshot.tensors)), self.names)
        if exported is None:
            return
        try:
            session = OnnxSession(exported.weightless, device="cpu", threads=_THREADS)  # its memory grows with the images
            got = [self._run(session, snapshot, images) for images in batches]
        except ArtifactError:
            return
        if all(map(any_size.same, got, expected)):
            del session, got
            self._load(exported)
            self.sample = batches[0][:1]

    def to_half(self, snapshot: Snapshot) -> None:
        """Make it a graph that holds and computes float16, into which a snapshot's weights are rounded while they are written.

        Raises `ExportError` if a weight in `snapshot` is too large for that, or if the model answers too differently.
        """
        exported = half.half(b"".join(self.template.fill(snapshot.tensors)), self.names)
        self._load(exported)
        self.fp16, self.tolerance = True, half.TOLERANCE
        self.borrow(snapshot)
        off = golden.difference(self.answer(snapshot, self.sample), self.eager(self.sample))
        if off > self.tolerance:
            raise ExportError(
                f"In float16 the model's answer is {off:.1e} off PyTorch's in float32; allowed is {self.tolerance:.0e}. "
                "Publish it in float32: precision='fp32'."
            )

    def answer(self, snapshot: Snapshot, images: np.ndarray) -> Outputs:
        """Run ONNX Runtime."""
        return self._run(self._session, snapshot, images)

    def _run(self, session: OnnxSession, snapshot: Snapshot, images: np.ndarray) -> Outputs:
        weights = {p.name: snapshot.tensors[self.names[p.name]].numpy() for p in session.inputs if p.name in self.names}
        if self.fp16:
            weights = {name: half.rounded(weight, name) if weight.dtype == np.float32 else weight for name, weight in weights.items()}
        if isinstance(self.twin, Detector):
            weights[THRESHOLD] = self.twin.exportweb_threshold.numpy()
        return session.run({**weights, "image": images}, self.outputs)

    def write(self, file: BinaryIO, snapshot: Snapshot, card: Card) -> Card:
        """Write the graph and sync it, while PyTorch answers, and while ONNX Runtime does, and it is hashed; the card, when all is done."""
        snapshot.wait()
        users: list[Future[Any]] = []  # of the snapshot
        try:
            users.append(expected := self.beside.call(self._eager, snapshot))  # what takes longest, as a rule
            users.append(written := self.beside.call(_write, file, self.template.fill(snapshot.tensors)))
            users.append(finite := self.beside.call(self._require_finite, snapshot))
            got = self.answer(snapshot, self.sample)
            digest = artifact.digest(self.template.fill(snapshot.tensors))
            finite.result()
            written.result()
        finally:
            for user in users:
                user.exception()  # whatever happens, the snapshot is no longer in use
        self._checked(got, expected.result())
        card = card.replace(golden=golden.golden(self.sample, expected.result(), tolerance=self.tolerance), digest=digest)
        file.write(artifact.card_entry(card))
        return card


def _write(file: BinaryIO, chunks: Iterable[bytes | memoryview]) -> None:
    """Write to a file on disk, and sync it."""
    file.writelines(chunks)
    file.flush()
    os.fsync(file.fileno())
