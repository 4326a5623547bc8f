"""A serialised graph whose weights can be replaced without serialising it again.

The bytes of an ONNX file are the same from version to version but for the weights and the card. A template keeps what stays, cut where
the weights lie, so that the next version is written as: a piece of graph, a weight from where it lies in memory, a piece of graph, …
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from exportweb.artifact import fields
from exportweb.exporters.half import rounded

# Field numbers of ModelProto, GraphProto and TensorProto (onnx/onnx.proto).
_GRAPH, _INITIALIZER, _DATA_TYPE, _NAME, _RAW_DATA = 7, 5, 2, 8, 9
_FLOAT16 = 10


class Slot(NamedTuple):
    """Where a weight belongs: its name, the index of its tensor, its size in bytes, and whether it is float16 there."""

    name: str
    tensor: int
    nbytes: int
    fp16: bool


class Template:
    """The pieces of a ModelProto around its weights.

    `model` is the serialised ModelProto, without a card; `names` maps the names of initializers that are weights to indices of
    tensors. `missing` is the set of those names that the graph does not hold.
    """

    def __init__(self, model: bytes, names: dict[str, int]) -> None:
        self.slots: list[Slot] = []
        self._pieces: list[bytes] = []
        found: set[str] = set()
        file, at = io.BytesIO(model), 0
        for graph in fields(file, 0, len(model)):
            if graph.number != _GRAPH:
                continue
            for tensor in fields(file, graph.start, graph.end):
                if tensor.number != _INITIALIZER:
                    continue
                parts = {f.number: f for f in fields(file, tensor.start, tensor.end)}
                if _NAME not in parts or _RAW_DATA not in parts:
                    continue
                name, raw = model[parts[_NAME].start : parts[_NAME].end].decode(), parts[_RAW_DATA]
                if name in names and raw.end > raw.start:
                    found.add(name)
                    self._pieces.append(model[at : raw.start])
                    self.slots.append(Slot(name, names[name], raw.end - raw.start, model[parts[_DATA_TYPE].start] == _FLOAT16))
                    at = raw.end
        self._pieces.append(model[at:])
        held = {names[name] for name in found}
        self.missing = {name for name, index in names.items() if index not in held}

    @property
    def nbytes(self) -> int:
        """Size of a version in bytes, without its card."""
        return sum(map(len, self._pieces)) + sum(slot.nbytes for slot in self.slots)

    def fill(self, tensors: Sequence[torch.Tensor]) -> Iterator[bytes | memoryview]:
        """Yield the ModelProto with these tensors (contiguous, on the CPU) as its weights, without copying them.

        What is float16 in the graph is rounded; raises `Rejected` if it is too large for that.
        """
        for piece, slot in zip(self._pieces, self.slots, strict=False):
            yield piece
            yield _slot_memory(tensors[slot.tensor], slot)
        yield self._pieces[-1]


def _slot_memory(tensor: torch.Tensor, slot: Slot) -> memoryview:
    if slot.fp16 and tensor.dtype == torch.float32:
        tensor = torch.from_numpy(rounded(tensor.detach().numpy(), slot.name))
    return memory(tensor, slot.nbytes)


def memory(tensor: torch.Tensor, nbytes: int) -> memoryview:
    """Return the memory of a contiguous tensor on the CPU; raise `ValueError` if it has another size than it should."""
    if math.prod(tensor.shape) * tensor.element_size() != nbytes:
        raise ValueError(f"A weight of {nbytes} bytes was given a tensor of shape {tuple(tensor.shape)} and {tensor.dtype}.")
    return tensor.detach().view(-1).view(torch.uint8).numpy().data
