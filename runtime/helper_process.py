"""The process behind a `Helper`: it prepares images for as long as somebody asks."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket

import msgspec
import numpy as np

from exportweb.errors import RequestError
from exportweb.runtime.helper import MEMORY, MESSAGE, Found, Placed, Refused, Reply, Wanted
from exportweb.runtime.preparation import described
from exportweb.runtime.reader import Array, Prepared

_ALIGNED = 64  # bytes: a cache line


def main(channel: int, memory: int) -> None:
    """Answer over a socket, with a memory that is shared; both are given as descriptors of files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the one that asks decides
    with contextlib.suppress(OSError):  # the thread that started this process may have kept to one CPU (see `runtime.seat`)
        os.sched_setaffinity(0, os.sched_getaffinity(os.getppid()))
    decode = msgspec.msgpack.Decoder(Wanted).decode
    with socket.socket(fileno=channel) as asked, mmap.mmap(memory, MEMORY) as shared:
        try:
            asked.send(b"ready")
            while message := asked.recv(MESSAGE):
                asked.send(msgspec.msgpack.encode(_answer(decode(message), shared)))
        except OSError:  # nobody asks any more
            return


def _answer(wanted: Wanted, shared: mmap.mmap) -> Reply:
    reply: Reply = []
    start, room = 0, _Room(shared, sum(wanted.sizes))
    for size in wanted.sizes:
        data = shared[start : start + size]
        start += size
        try:
            prepared = described(wanted.description)(data, max_pixels=wanted.max_pixels)
            reply.append(room.take(prepared))
        except RequestError as error:
            reply.append(Refused(type(error).__name__, str(error)))
        except Exception:  # who asks tries it again, and says what is wrong
            reply.append(None)
    return reply


class _Room:
    """The memory behind the images, which fills with arrays."""

    def __init__(self, shared: mmap.mmap, start: int) -> None:
        self._shared = shared
        self._start = start

    def take(self, prepared: Prepared) -> Found | None:
        """Put arrays into the memory; None if they don't fit."""
        arrays = {}
        for name, array in prepared.arrays.items():
            placed = self._place(array)
            if placed is None:
                return None
            arrays[name] = placed
        return Found(arrays, dict(prepared.stages), prepared.size)

    def _place(self, array: Array) -> Placed | None:
        start = -(-self._start // _ALIGNED) * _ALIGNED
        if start + array.nbytes > MEMORY:
            return None
        np.ndarray(array.shape, array.dtype, buffer=self._shared, offset=start)[...] = array
        self._start = start + array.nbytes
        return Placed(array.dtype.str, array.shape, start)
