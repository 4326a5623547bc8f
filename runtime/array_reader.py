"""Named arrays to read: one request, one run of the graph."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from exportweb.card import TensorInput
from exportweb.errors import CardError
from exportweb.runtime.arrays import decode, describe
from exportweb.runtime.convert import DTYPES
from exportweb.runtime.reader import Array, Prepared, Row
from exportweb.runtime.session import Port


class ArrayReader:
    """Reads arrays for a graph of any inputs. Requests are run one by one: which dimension is a batch's, if any is, no graph says.

    Raises `CardError` if the card's inputs and the graph's don't fit each other.
    """

    takes: Literal["arrays"] = "arrays"
    max_batch = 1
    description = None
    sure = False  # a sound graph may divide by its input, or look it up

    def __init__(self, inputs: Sequence[TensorInput], ports: Sequence[Port]) -> None:
        has = {port.name: Port(port.name, port.dtype, port.shape) for port in ports}
        wants = {spec.name: Port(spec.name, spec.dtype, spec.shape) for spec in inputs}
        if has != wants:
            graph = ", ".join(f"{port.name!r} ({port.describe()})" for port in ports)
            raise CardError(f"The card says that the graph takes {describe(inputs)}; it takes {graph}.")
        for spec in inputs:
            if spec.dtype not in DTYPES:
                raise CardError(f"The graph's input {spec.name!r} is {spec.dtype}; what can be sent to it is {', '.join(DTYPES)}.")
        self._inputs = tuple(inputs)

    def prepare(self, data: bytes, *, max_pixels: int) -> Prepared:
        """Read the arrays of one request, of at most `max_pixels` values together."""
        start = time.perf_counter()
        arrays = decode(data, self._inputs, max_values=max_pixels)
        return Prepared(arrays, {"decode": time.perf_counter() - start})

    def groups(self, batch: Sequence[Prepared]) -> list[list[int]]:
        """Return each by itself."""
        return [[i] for i in range(len(batch))]

    def feed(self, batch: Sequence[Prepared]) -> Mapping[str, Array]:
        """Return the arrays of the one request."""
        (prepared,) = batch
        return prepared.arrays

    def rows(self, outputs: Mapping[str, Any], count: int) -> list[Row]:
        """Return the outputs as they are."""
        return [outputs]

    def blank(self) -> Prepared:
        """Return zeros, false and empty strings, of length 1 along each side that may have any."""
        return Prepared({spec.name: _zeros(spec) for spec in self._inputs}, {})


def _zeros(spec: TensorInput) -> Array:
    shape = tuple(1 if side is None else side for side in spec.shape)
    if spec.dtype == "string":
        return np.full(shape, "", object)
    return np.zeros(shape, "float32" if spec.dtype == "bfloat16" else spec.dtype)
