"""A question: a whole request in a front, on its way from its connection to an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exportweb.runtime import Prepared
from exportweb.web.fronts.slots import Placed

if TYPE_CHECKING:
    from exportweb.web.fronts.connection import Connection


@dataclass(slots=True, eq=False)
class Question:
    """A request for a model, by number: its head and body as they came, and the image file and parameters in them.

    It came at `since` and `waited` for so many seconds until its image was prepared, by a `description` with its number; `placed` is where
    the arrays lie, while the server is asked.
    """

    id: int
    connection: Connection
    model: int
    head: bytes
    body: bytes
    data: bytes
    params: dict[str, str]
    since: float
    waited: float = 0.0
    description: tuple[int, bytes | None] | None = None
    prepared: Prepared | None = None
    placed: dict[str, Placed] = field(default_factory=dict)
