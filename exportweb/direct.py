"""A file that goes to the disk past the system's memory."""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
from typing import Any

_BUFFER = 2 << 20  # bytes: whole blocks of any disk, so many that it is busy, so few that they stay in a core's cache
_DIRECT: int = getattr(os, "O_DIRECT", 0)  # Linux has it


class DirectFile(io.BufferedWriter):
    """A new file of many bytes that nobody here reads soon, written from its beginning to its end.

    In the ordinary way each byte is first copied into memory that the system has to find, and to free again when the file is deleted,
    and what was there before, such as the images of a training, has to be read anew. Here the disk takes the bytes from a small buffer
    (``O_DIRECT``, https://man7.org/linux/man-pages/man2/open.2.html). What `flush` or `seek` finds there is no whole block: from then on
    all is written in the ordinary way, and so it is from the first byte where a file system has no other.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(_Blocks(path))

    def flush(self) -> None:
        """Write all that there is."""
        super().flush()
        self.raw.flush()  # which a `BufferedWriter` doesn't do by itself


class _Blocks(io.FileIO):
    """What is written comes to the disk in whole blocks, until it is flushed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(os.fspath(path), "wb", opener=_open)
        self._buffer = memoryview(mmap.mmap(-1, _BUFFER))  # memory that begins with a page
        self._held = 0  # bytes in it
        self._direct = bool(_DIRECT)

    def write(self, data: Any) -> int:
        """Write some of the bytes; return how many."""
        if not self._direct:
            return super().write(data)
        part = memoryview(data).cast("B")[: _BUFFER - self._held]
        self._buffer[self._held : self._held + len(part)] = part
        self._held += len(part)
        if self._held == _BUFFER:
            self._empty()
        return len(part)

    def flush(self) -> None:
        """Write what is in the buffer, which is not used again."""
        if self._direct and not self.closed:
            self._go_ordinary()
            self._empty()
        super().flush()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move elsewhere; return where that is."""
        self.flush()
        return super().seek(offset, whence)

    def tell(self) -> int:
        """Return how many bytes come before the next one."""
        return super().tell() + self._held

    def _empty(self) -> None:
        left, self._held = self._buffer[: self._held], 0
        while left:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                if not (self._direct and error.errno == errno.EINVAL):
                    raise
                self._go_ordinary()  # this file system says so only now

    def _go_ordinary(self) -> None:
        import fcntl

        self._direct = False
        fcntl.fcntl(self.fileno(), fcntl.F_SETFL, fcntl.fcntl(self.fileno(), fcntl.F_GETFL) & ~_DIRECT)


def _open(path: str, flags: int) -> int:
    with contextlib.suppress(OSError):  # there may be no such file system below, or no such folder
        return os.open(path, flags | _DIRECT, 0o666)
    return os.open(path, flags, 0o666)
