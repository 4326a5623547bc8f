"""A model's graph, traced: what the formats have in common."""

from __future__ import annotations

import abc
from typing import BinaryIO, ClassVar

import numpy as np
from torch import nn

from exportweb.card import Card
from exportweb.errors import ExportError, Rejected
from exportweb.exporters import frameworks, golden
from exportweb.exporters.beside import Beside
from exportweb.exporters.image_model import ImageModel, Outputs
from exportweb.exporters.script import ScriptTemplate
from exportweb.exporters.state import PlainState
from exportweb.exporters.template import Template
from exportweb.exporters.unwrap import eval_copy
from exportweb.exporters.weights import Snapshot, Weights


class Traced(abc.ABC):
    """A traced graph with all that is needed to write versions of it: immutable but for the weights that `twin` is lent.

    `twin` is the module that was traced, a copy for evaluation on the CPU; `layout` says for which weights the graph is valid, `names`
    which tensor of a snapshot is which weight; `whole` is the reason why new weights can't be put into it, None if they can; `fallback`
    the reason why it isn't ONNX. `tolerance` is by how much its answer may differ from PyTorch's own float32 one.
    """

    suffix: ClassVar[str]  # of its files
    engine: ClassVar[str]  # what runs it
    template: Template | ScriptTemplate

    def __init__(self, model: nn.Module, weights: Weights, description: frameworks.Description, beside: Beside) -> None:
        self.beside = beside
        self.tolerance = golden.TOLERANCE
        self.layout = weights.layout()
        self.description = description
        self.outputs = tuple(output.name for output in description.outputs)
        image = description.input
        self.state = PlainState(weights)
        self.twin = self.wrap(eval_copy(model))
        size = None if image.height else description.sample
        self.sample = golden.mosaic(image, size=size)
        example = golden.mosaic(image, size=size, batch=2 if description.batch else 1)
        try:
            self.classes = self.twin.classes(golden.eager(self.twin, example, self.outputs))
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(
                f"The model fails on a batch of images {list(example.shape)} (the first: {type(error).__name__}: {error}). "
                "Show it one that it takes: example=images."
            ) from error
        # A buffer that the first forward makes anew (positions, masks) is no weight; whatever that made is part of the graph.
        self._lent = made = Weights(self.twin.model)
        self.names = {
            name: i
            for name, i in weights.names.items()
            if name in made.names and made.tensors[made.names[name]].shape == weights.tensors[i].shape
        }
        # A bound that is infinite from the beginning is meant to be; a parameter never is.
        unbounded = {name for name, buffer in made.model.named_buffers(remove_duplicate=False) if buffer.isinf().any()}
        self._finite = {name: i for name, i in self.names.items() if name not in unbounded}
        self.whole: str | None = None
        self.fallback: str | None = None
        self._trace(example)

    @abc.abstractmethod
    def _trace(self, example: np.ndarray) -> None:
        """Trace the twin on images like these; raise `ExportError` if that can't be done."""

    @abc.abstractmethod
    def retraced(self, snapshot: Snapshot) -> bool:
        """Whether the twin, traced again with the weights of a snapshot, is the same graph to the byte, but for those."""

    @abc.abstractmethod
    def answer(self, snapshot: Snapshot, images: np.ndarray) -> Outputs:
        """Return what the graph answers with the weights of a snapshot, from where they lie, and the threshold of the twin."""

    @abc.abstractmethod
    def write(self, file: BinaryIO, snapshot: Snapshot, card: Card) -> Card:
        """Write a version: the snapshot's weights, the golden sample that PyTorch answers with them, the card; and check it.

        `file` is on disk; syncing its end is the caller's. Returns the card as written. Raises `Rejected` if weights or answers are not
        finite, or if the graph answers something else.
        """

    def wrap(self, model: nn.Module) -> ImageModel:
        """Make the module that is traced, or one like it around another copy of the model."""
        return self.description.wrap(model, self.description.input).eval()

    def eager(self, images: np.ndarray) -> Outputs:
        """Return what PyTorch answers with the weights that the twin has."""
        return golden.eager(self.twin, images, self.outputs)

    def borrow(self, snapshot: Snapshot) -> None:
        """Make the twin answer with the weights of a snapshot."""
        self._lent = self._lent.refreshed()
        snapshot.lend(self._lent, self.names)

    def _checked(self, got: Outputs, expected: Outputs) -> None:
        """Raise `Rejected` if the graph's answer to the golden sample is not PyTorch's."""
        off = golden.disagreement(got, expected, tolerance=self.tolerance)
        if off is not None:
            own = golden.rounding(self.twin, self.sample, expected)
            why = f" PyTorch's own is {own:.1e} off what it computes in float64: this model magnifies what is rounded."
            raise Rejected(
                f"The golden sample failed: {self.engine}'s answer is not PyTorch's: {off}; allowed is {self.tolerance:.0e}."
                + why * (own > self.tolerance)
            )

    def _require_finite(self, snapshot: Snapshot) -> None:
        """Raise `Rejected` if a weight is not finite."""
        if (name := snapshot.not_finite(self._finite)) is not None:
            raise Rejected(f"The weights are not finite: {name} holds NaN or infinity.")

    def _eager(self, snapshot: Snapshot) -> Outputs:
        """Return what PyTorch answers to the golden sample; raise `Rejected` if that is not finite."""
        self.borrow(snapshot)
        answer = self.eager(self.sample)
        if not all(np.isfinite(array).all() for array in answer.values()):
            raise Rejected("The model answers with NaN or infinity, though its weights are finite.")
        return answer
