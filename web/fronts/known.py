"""What fronts know without asking: how each model's images are prepared, and how much room its queue has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from exportweb.runtime import ServedModel
from exportweb.web.fronts import channel
from exportweb.web.fronts.board import Board

_GLANCE = 0.05  # seconds between two looks at a queue that is full


class Known:
    """What at most `count` fronts are told of some models. All methods are for the event loop's thread."""

    def __init__(self, models: Sequence[ServedModel], *, count: int) -> None:
        self._models = models
        self._count = count
        self._told = [channel.Described(index, 0, None) for index in range(len(models))]
        self._descriptions: list[bytes] = [b""]
        self._board: Board | None = None
        self._glancing = False
        self.file = -1
        """The descriptor of the board that fronts read, once it is `open`."""

    @property
    def open(self) -> bool:
        """Whether there is a board."""
        return self._board is not None

    def begin(self) -> None:
        """Make the board, and write on it from now on."""
        self.file = Board.create(models=len(self._models), fronts=self._count)
        self._board = Board(os.dup(self.file), models=len(self._models))
        self.show()

    def end(self) -> None:
        """Give the board up."""
        if self.file >= 0:
            os.close(self.file)
        self._board, self.file = None, -1

    # -- how images are prepared -------------------------------------------------------------------------------------

    def prepares(self, model: int) -> bool:
        """Whether a model, by its index, takes images that are prepared elsewhere."""
        return self._told[model].description is not None

    def number(self, description: bytes) -> int:
        """Return the number by which fronts name a description."""
        if description not in self._descriptions:
            self._descriptions.append(description)
        return self._descriptions.index(description)

    def description(self, number: int) -> bytes:
        """Return what a number stands for; raise `IndexError` where it is larger than any that was told."""
        return self._descriptions[number]

    def changed(self) -> list[channel.Described]:
        """Look at the versions that serve; return what fronts don't know yet."""
        found = []
        for index, model in enumerate(self._models):
            wanted = None if model.predictor is None else model.predictor.preparation
            if wanted != self._told[index].description:
                self._told[index] = channel.Described(index, 0 if wanted is None else self.number(wanted), wanted)
                found.append(self._told[index])
        return found

    def all(self) -> list[channel.Described]:
        """Return what a front has to know that knows nothing."""
        return list(self._told)

    # -- how much room there is --------------------------------------------------------------------------------------

    def show(self) -> None:
        """Write on the board how much room the queues have; while there is none, again and again."""
        if self._board is None:
            return
        full = False
        for index, model in enumerate(self._models):
            room, seconds = model.room
            self._board.show(index, room, seconds)
            full = full or not room
        if full and not self._glancing:
            self._glancing = True
            asyncio.get_running_loop().call_later(_GLANCE, self._glance)

    def gone(self, front: int) -> None:
        """Let no request wait in a front that has ended."""
        if self._board is not None:
            self._board.wait(front, 0)

    def _glance(self) -> None:
        self._glancing = False
        self.show()
