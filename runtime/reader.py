"""Readers: from what a client sent to what a graph takes. A card that has `input` is read as images, one that has `inputs` as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]

Row = Mapping[str, Any]
"""The graph's outputs for one request, by name: arrays, where a graph has no sequences or maps among them."""


class Prepared(NamedTuple):
    """One request as the graph wants it.

    `arrays` are by input's name, those of an image without the batch dimension; `stages` the seconds that reading took, by stage;
    `size` is (width, height) of the upright image in pixels, None where there is none.
    """

    arrays: Mapping[str, Array]
    stages: Mapping[str, float]
    size: tuple[int, int] | None = None


class Reader(Protocol):
    """What turns requests into a graph's inputs, and its outputs back into one row a request."""

    @property
    def takes(self) -> Literal["image", "arrays"]:
        """What a request is."""

    @property
    def max_batch(self) -> int | None:
        """The largest batch that the graph takes, None where any will do."""

    @property
    def sure(self) -> bool:
        """Whether every sound graph answers `blank` with finite numbers."""

    @property
    def description(self) -> bytes | None:
        """What says to another process how to prepare a request (see `runtime.preparation`), None if only this one can."""

    def prepare(self, data: bytes, *, max_pixels: int) -> Prepared:
        """Read one request of at most `max_pixels` pixels, or values; raise `RequestError` for one that can't be used."""

    def groups(self, batch: Sequence[Prepared]) -> list[list[int]]:
        """Return which of these requests can be fed together, by their places."""

    def feed(self, batch: Sequence[Prepared]) -> Mapping[str, Array]:
        """Return the graph's inputs for the requests of one group."""

    def rows(self, outputs: Mapping[str, Any], count: int) -> list[Row]:
        """Return the outputs of `count` requests, one by one."""

    def blank(self) -> Prepared:
        """Return a request that says nothing, to warm and check a session with."""
