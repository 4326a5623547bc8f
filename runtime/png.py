"""PNG of masks: mostly nothing, which costs next to nothing.

An encoder that looks at every pixel takes a tenth of a second and more for the mask of one object in a photo of a phone. Here the rows
above and below the object are put together from pieces that were compressed once (https://www.w3.org/TR/png-3, RFC 1950 and 1951: a zlib
stream may be cut and joined at flushes, and the checksum of zeros is known without them).
"""

from __future__ import annotations

import functools
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ZLIB = b"\x78\x01"  # deflate with a window of 32 kB
_END = b"\x03\x00"  # a last block of deflate with nothing in it
_ADLER = 65521


def grey(window: NDArray[np.bool_], left: int, top: int, size: tuple[int, int]) -> bytes:
    """Return a PNG of `size` (width, height), 8-bit grey: 255 where `window`, which begins at `left`, `top`, is true, else 0."""
    (width, height), (rows, columns) = size, window.shape
    lines = np.zeros((rows, width + 1), np.uint8)  # each begins with the number of its filter: none
    lines[:, left + 1 : left + 1 + columns] = np.where(window, np.uint8(255), np.uint8(0))
    above, below = top * (width + 1), (height - top - rows) * (width + 1)
    data: Any = lines.reshape(-1)
    checksum = _after_zeros(zlib.adler32(data, _after_zeros(1, above)), below)
    stream = b"".join((_ZLIB, _zeros(above), _deflated(data, level=1), _zeros(below), _END, struct.pack(">I", checksum)))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"".join((_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", stream), _chunk(b"IEND", b"")))


def _zeros(count: int) -> bytes:
    """Return so many zeros, deflated: pieces whose lengths are powers of two."""
    return b"".join(_piece(bit) for bit in range(count.bit_length()) if count >> bit & 1)


@functools.cache
def _piece(bit: int) -> bytes:
    return _deflated(bytes(1 << bit), level=9)


def _deflated(data: Any, *, level: int) -> bytes:
    """Return blocks of deflate, none of them the last, that end with a byte and refer to nothing before them."""
    made = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    return made.compress(data) + made.flush(zlib.Z_FULL_FLUSH)


def _after_zeros(checksum: int, count: int) -> int:
    """Return the Adler-32 of what has this one, with so many zeros behind it."""
    low, high = checksum & 0xFFFF, checksum >> 16
    return (high + count * low) % _ADLER << 16 | low


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))
