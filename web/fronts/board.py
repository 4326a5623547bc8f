"""The board: a few numbers that all processes of a server see, so that whoever would only be refused is, without asking anybody."""

from __future__ import annotations

import mmap
import os

_INT = 4  # bytes


class Board:
    """How much room each model's queue has, written by the server, and how many images wait in each front, written by it.

    `file` is a descriptor of memory (see `create`), which is closed. A number is written and read whole, whatever the others do.
    """

    def __init__(self, file: int, *, models: int) -> None:
        self._numbers = memoryview(mmap.mmap(file, 0)).cast("i")
        os.close(file)
        self._waiting = self._numbers[2 * models :]

    @staticmethod
    def create(*, models: int, fronts: int) -> int:
        """Return a descriptor of memory for so many models and fronts, all zeros."""
        file = os.memfd_create("exportweb-board")
        os.ftruncate(file, _INT * (2 * models + fronts))
        return file

    def show(self, model: int, room: int, seconds: int) -> None:
        """Say for how many more requests a queue has room, and after how many seconds to ask again where there is none."""
        self._numbers[2 * model], self._numbers[2 * model + 1] = min(room, 1 << 30), seconds

    def wait(self, front: int, images: int) -> None:
        """Say how many images wait in a front."""
        self._waiting[front] = images

    def refusal(self, model: int) -> int:
        """Return after how many seconds to ask again, 0 if there is room."""
        room = self._numbers[2 * model]
        return 0 if sum(self._waiting) < room else self._numbers[2 * model + 1]
