"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

PART = ".part"
_STRIDE = 8 << 20  # bytes that the disk is told of at a time


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside its name, sync it, give it its name, sync the folder.

    If `write` raises, or the disk is full, nothing is left behind and a file that already had the name is untouched. After a crash
    at any moment the name stands for the old bytes or for the new ones, never for a part; what can be left is ``.<name>.part``.
    """
    part = path.with_name(f".{path.name}{PART}")
    try:
        with io.BufferedWriter(_Early(part, "wb")) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class _Early(io.FileIO):
    """A file, written from beginning to end, with which the disk begins at once, not when all is there to be synced: it writes while the
    rest is still being copied into the system's memory.
    """

    _begun = _end = 0

    def write(self, data: Any) -> int:
        """Write some of the bytes, 8 MB at most; return how many."""
        written: int = super().write(memoryview(data).cast("B")[:_STRIDE])
        self._end += written
        if self._end - self._begun >= _STRIDE:
            self._begin()
        return written

    def _begin(self) -> None:
        """Have the system write what is new to the disk, where it (Linux) can be told to, without waiting for it.

        Linux does it at once on advice that it may forget a part; what is being written is kept, so who reads it next finds it in memory.
        """
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):  # advice is not worth failing for
                os.posix_fadvise(self.fileno(), self._begun, self._end - self._begun, os.POSIX_FADV_DONTNEED)
        self._begun = self._end
