"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

PART = ".part"
_STRIDE = 8 << 20  # bytes that the disk is told of at a time


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside its name, sync it, give it its name, sync the folder.

    If `write` raises, or the disk is full, nothing is left behind and a file that already had the name is untouched. After a crash
    at any moment the name stands for the old bytes or for the new ones, never for a part; what can be left is ``.<name>.part``.
    """
    part = path.with_name(f".{path.name}{PART}")
    try:
        with part.open("wb") as file:
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


def write_synced(file: BinaryIO, chunks: Iterable[bytes | memoryview]) -> None:
    """Write bytes to a file on disk, from its position on, and sync it.

    The disk begins with the first bytes, not when the last are there: it writes while the others are copied into the system's memory.
    """
    begin = end = file.tell()
    for chunk in chunks:
        for at in range(0, len(chunk), _STRIDE):
            end += file.write(memoryview(chunk)[at : at + _STRIDE])
            if end - begin >= _STRIDE:
                file.flush()
                _begin_to_write(file, begin, end)
                begin = end
    file.flush()
    os.fsync(file.fileno())


def _begin_to_write(file: BinaryIO, begin: int, end: int) -> None:
    """Have the system write a part of a file to the disk, where it (Linux) can be told to, without waiting for it.

    Advice that it may forget a part makes Linux write it at once; what is being written is kept, so who reads it next finds it in memory.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # advice is not worth failing for
            os.posix_fadvise(file.fileno(), begin, end - begin, os.POSIX_FADV_DONTNEED)
