"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from exportweb.direct import DirectFile

PART = ".part"


def replace_file(path: Path, write: Callable[[BinaryIO], object], *, direct: bool = False) -> None:
    """Write a file beside its name, sync it, give it its name, sync the folder.

    If `write` raises, or the disk is full, nothing is left behind and a file that already had the name is untouched. After a crash
    at any moment the name stands for the old bytes or for the new ones, never for a part; what can be left is ``.<name>.part``.
    `direct` is for a large file that nobody here reads soon (see `DirectFile`).
    """
    part = path.with_name(f".{path.name}{PART}")
    try:
        with DirectFile(part) if direct else part.open("wb") as file:
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
