"""Tensors: whatever a graph answers, as it is.

Answers are ``{"outputs": {"label": [1], "probabilities": [[0.1, 0.9]]}}``: arrays as nested lists, sequences as lists, maps as objects,
whose keys are strings in JSON. What is not a finite number is null there. A client may ask for a .npz file instead, which keeps dtypes
and NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from exportweb.card import Card
from exportweb.errors import BadParameter, CardError
from exportweb.runtime import nested, npz
from exportweb.runtime.parameters import choice, known
from exportweb.runtime.reader import Prepared, Row
from exportweb.runtime.tasks import File

NPZ = "application/x-npz"


class Params(msgspec.Struct, frozen=True):
    """What a client may ask for: JSON, or a .npz file."""

    format: Literal["json", "npz"]


class Tensor:
    """The task of a card with outputs of any role, and arrays or images for input. Raises `CardError` if it names no output."""

    def __init__(self, card: Card, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        self.outputs = tuple(output.name for output in card.outputs)
        if not self.outputs:
            raise CardError(f"The card names no output; the graph has {', '.join(map(repr, shapes))}.")

    def params(self, given: Mapping[str, object]) -> Params:
        """Read ``format``, ``"json"`` (the default) or ``"npz"``. Raises `BadParameter`."""
        known(given, ["format"], what="a model of arrays")
        return Params(format="npz" if choice(given, "format", ("json", "npz")) == "npz" else "json")

    def answer(self, row: Row, params: Params, prepared: Prepared) -> dict[str, Any] | File:
        """Return the outputs by name, or a .npz file of them. Raises `BadParameter` for an output that such a file can't hold."""
        if params.format == "json":
            return {"outputs": {name: nested.plain(row[name]) for name in self.outputs}}
        return File(NPZ, npz.write_npz({name: _array(name, row[name]) for name in self.outputs}))


def _array(name: str, output: Any) -> Any:
    if not isinstance(output, np.ndarray):
        raise BadParameter(f"The output {name!r} is a list of maps or arrays, which a .npz file can't hold; ask for JSON.")
    return output.astype(np.str_) if output.dtype == object else output
