"""A predictor: one immutable loaded version, from the bytes of a request to an answer.

The steps of a prediction are methods of their own, so that a scheduler can run them in different threads and batches:
`prepare` (read one request), `infer` (a batch of them), `answer` (one row of it).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from exportweb import artifact as artifacts
from exportweb.artifact import Artifact
from exportweb.card import ROLES, Card
from exportweb.errors import ArtifactError, BadInput, CardError
from exportweb.runtime import devices, tasks
from exportweb.runtime.array_reader import ArrayReader
from exportweb.runtime.image_reader import ImageReader, sides
from exportweb.runtime.preparation import Decode
from exportweb.runtime.reader import Prepared, Reader, Row
from exportweb.runtime.session import Session
from exportweb.runtime.tasks import Together

MAX_PIXELS = 50_000_000

# What ONNX Runtime raises in a run for arrays that some node of the graph refuses, by class name.
_FAULTS = ("Fail", "InvalidArgument")


class Predictor:
    """A card and the session that runs its graph.

    `alone` is a second session of the same graph, for runs that have the machine to themselves. `max_batch` is the largest batch that the
    graph takes: 1 where its batch dimension is fixed or unknown, or it answers without one, else None. `decoding` says how
    JPEGs are decoded: ``"exact"``, or ``"fast"``, scaled down while they are where they are much larger than the input.

    Raises `CardError` if card and graph don't fit each other.
    """

    def __init__(self, card: Card, session: Session, *, alone: Session | None = None, decoding: Decode = "exact") -> None:
        self.card = card
        self.session = session
        self.alone = alone or session
        ranks = {output.name: ROLES[output.role] for output in card.outputs if output.role in ROLES}
        self._reader: Reader = (
            ArrayReader(card.inputs, session.inputs)
            if card.input is None
            else ImageReader(card.input, session.inputs, ranks=ranks, decoding=decoding)
        )
        shapes = {port.name: port.shape for port in session.outputs}
        for output in card.outputs:
            if output.name not in shapes:
                raise CardError(f"The card names an output {output.name!r}; the graph has {', '.join(map(repr, shapes))}.")
        single = any(len(shapes[name]) == rank for name, rank in ranks.items())
        self.max_batch = 1 if single else self._reader.max_batch
        self._decoding: Decode = decoding
        self.decoding = decoding if self.takes == "image" else None
        self.task = tasks.load(card, shapes)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        threads: int = 0,
        memory_limit: int = 0,
        graphs: Sequence[int] = (),
        decoding: Decode = "exact",
        card: Card | None = None,
        verified: bool = False,
        trust_torchscript: bool = False,
    ) -> Predictor:
        """Load an artifact whose bytes match the digest in its card; `verified` says that they were compared already.

        `device` is that of `OnnxSession`, or several GPUs: ``"cuda:0,cuda:1"``, ``"cuda:all"``. `threads` and `memory_limit` are those of
        `OnnxSession`, `graphs` that of `devices.load`, `decoding` is as above; `card` is for an ONNX file without one (see
        `card_for_onnx`), and goes before the one that a file has. A TorchScript file is code, which loading it runs: it is refused
        unless `trust_torchscript` says that its origin is known.

        Raises `ArtifactError`, `CardError`, `DeviceError`, or `OSError` if the file can't be read.
        """
        artifact = artifacts.read(path)
        if artifact.format == "torchscript" and not trust_torchscript:
            raise ArtifactError(refusal(path))
        if not verified:
            artifacts.verify(artifact)
        card = card or artifact.card
        if card is None:
            raise CardError(no_card(artifact))
        if artifact.format == "torchscript":
            torchscript = importlib.import_module("exportweb.runtime.torchscript")  # needs torch
            session: Session = torchscript.TorchScriptSession(path, card=card, device=device, threads=threads)
        else:
            session = devices.load(
                path,
                device=device,
                threads=threads,
                memory_limit=memory_limit,
                graphs=graphs,
                sides={card.input.name: sides(card.input)} if card.input else None,
            )
        return cls(card, session, decoding=decoding)

    def beside(self, alone: Predictor) -> Predictor:
        """Return this version as a predictor that runs in the other's session where nothing else runs."""
        return Predictor(self.card, self.session, alone=alone.session, decoding=self._decoding)

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that the session really has, the preferred first."""
        return self.session.providers

    @property
    def device(self) -> str:
        """Where the graph runs: ``"cpu"`` or ``"cuda:N"``, several with commas."""
        return self.session.device

    def each(self) -> list[Predictor]:
        """Return a predictor for each device that this one runs on, to warm and check them one by one."""
        sessions = devices.split(self.session)
        return [self] if len(sessions) == 1 else [Predictor(self.card, one, decoding=self._decoding) for one in sessions]

    @property
    def takes(self) -> Literal["image", "arrays"]:
        """What a request is: the bytes of an image file, or named arrays (see `runtime.arrays`)."""
        return self._reader.takes

    @property
    def sure(self) -> bool:
        """Whether a sound graph always answers what `blank` returns, with finite numbers."""
        return self._reader.sure

    @property
    def preparation(self) -> bytes | None:
        """What says to another process how `prepare` reads an image (see `runtime.preparation`), None if only this one can."""
        return self._reader.description

    def predict(self, data: bytes, *, max_pixels: int = MAX_PIXELS, **params: object) -> Any:
        """Answer for one request, given as bytes: an image in any format that `runtime.images` reads, or arrays in one of
        `runtime.arrays`.

        Raises `RequestError` for a request or parameter that can't be used.
        """
        checked = self.task.params(params)
        prepared = self.prepare(data, max_pixels=max_pixels)
        (row,) = self.infer([prepared])
        return self.task.answer(row, checked, prepared)

    def prepare(self, data: bytes, *, max_pixels: int = MAX_PIXELS) -> Prepared:
        """Read one request of at most `max_pixels` pixels, or values."""
        return self._reader.prepare(data, max_pixels=max_pixels)

    def infer(self, batch: Sequence[Prepared], *, alone: bool = False) -> list[Row]:
        """Run the graph on prepared requests, once for all that fit together; return the outputs that the task needs, one by one.

        `alone` says that nothing else runs.
        Raises `BadInput` for arrays that fit the graph's description and that it still can't be run on.
        """
        rows: dict[int, Row] = {}
        for group in self._reader.groups(batch):
            rows.update(zip(group, self._run([batch[i] for i in group], self.alone if alone else self.session), strict=True))
        return [rows[i] for i in range(len(batch))]

    def _run(self, batch: Sequence[Prepared], session: Session) -> list[Row]:
        inputs = self._reader.feed(batch)
        try:
            outputs: Mapping[str, Any] = session.run(inputs, self.task.outputs)
        except ArtifactError as error:
            if self.sure or type(error.__cause__).__name__ not in _FAULTS:
                raise
            raise BadInput(
                f"{str(error).removesuffix('.')}. Where a side may have any length, several may have to agree, and values may have a range."
            ) from error
        if len(batch) > 2 and isinstance(self.task, Together):
            outputs = self.task.together(outputs)
        return self._reader.rows(outputs, len(batch))

    def blank(self, count: int) -> list[Prepared]:
        """Return prepared requests that say nothing, to warm and check a session with."""
        return [self._reader.blank()] * count


def refusal(path: str | os.PathLike[str]) -> str:
    """Explain why a TorchScript file isn't loaded, and what to do about it."""
    return (
        f"{path} is TorchScript, which is code: whoever wrote the file decides what runs here when it is loaded. "
        "If you know where it comes from, say so: --trust-torchscript (EXPORTWEB_TRUST_TORCHSCRIPT=1). An ONNX file needs no trust."
    )


def no_card(artifact: Artifact) -> str:
    """Explain what to do about a file without a card."""
    if artifact.format == "torchscript":
        return (
            f"{artifact.path} is TorchScript, which is code, and has no card, so nothing says what its input and outputs mean; "
            "exportweb export writes files that have one."
        )
    return (
        f"{artifact.path} has no card, so nothing says what its input and outputs mean. Say it: "
        "--task image-classification --labels labels.txt --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225, "
        "or --task tensor to send its inputs as arrays; `exportweb card` writes it into a copy of the file"
    )
