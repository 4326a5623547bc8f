"""Helpers: processes that prepare images for a worker's thread, where many threads of one process would wait for each other.

Decoding and resizing release the GIL, but each of the few calls that an image needs takes it again. In a server with a GPU and many cores
such waits, not the work, are what images take. A helper has a GIL of its own. It is a new interpreter, not a fork: this process
has threads, and may have CUDA. Images and arrays travel through memory that both see, what is said about them through a socket.

A helper that ends, whatever ended it, costs nothing but its help: what it was asked is done here.
"""

from __future__ import annotations

import contextlib
import logging
import math
import mmap
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np

from exportweb.errors import BadInput, NotAnImage, RequestError, TooLarge, TornImage
from exportweb.runtime import cuda
from exportweb.runtime.cpus import usable_cpus
from exportweb.runtime.reader import Prepared
from exportweb.runtime.session import available_devices

log = logging.getLogger(__name__)

MEMORY = 32 << 20
"""Bytes that a helper shares with who asks it: images come first, then arrays. What isn't used takes no memory."""

MOST = 8
"""Images that a helper is given at a time."""

PATIENCE = 16
"""How often a helper is missed in a second before it is worth its start: where images are fewer, no thread waits long for another."""

MESSAGE = 1 << 16
"""The most bytes of a message."""

_START = "import sys; sys.path[:] = sys.argv[3:]; from exportweb.runtime.helper_process import main; main(*map(int, sys.argv[1:3]))"
_REFUSALS = {kind.__name__: kind for kind in (TooLarge, NotAnImage, BadInput, TornImage)}
_MANY = 8  # CPUs
_AGAIN = 3  # how often a helper that ended is started again


def suitable(device: str) -> int:
    """Return how many helpers suit a server of models on this device (see `OnnxSession`): one for each thread, or those without would still
    wait, where there are many CPUs for a GPU's images. Few CPUs are kept busy by threads, and so are those that also run the model.
    """
    on_gpu = device != "cpu" and cuda.count() > 0 and "cuda" in available_devices()
    return usable_cpus() if on_gpu and usable_cpus() >= _MANY else 0


class Wanted(msgspec.Struct, array_like=True, frozen=True):
    """Images to prepare, one behind the other from the start of the memory, of so many bytes each (see `runtime.preparation`)."""

    description: bytes
    max_pixels: int
    sizes: list[int]


class Placed(msgspec.Struct, array_like=True, frozen=True):
    """An array in the memory."""

    dtype: str
    shape: tuple[int, ...]
    start: int


class Found(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """A `Prepared` whose arrays are in the memory."""

    arrays: dict[str, Placed]
    stages: dict[str, float]
    size: tuple[int, int] | None


class Refused(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """A `RequestError`, by its class."""

    kind: str
    message: str


Reply = list[Found | Refused | None]
"""What came of each image; None where it has to be prepared elsewhere, for lack of memory or because something failed."""


class Helper:
    """A process that prepares images for one thread. It is started when it is missed often, and `ready` some time later.

    All methods are for that thread.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._memory: mmap.mmap | None = None
        self._decode = msgspec.msgpack.Decoder(Reply).decode
        self.ready = False
        self._missed: deque[float] = deque(maxlen=PATIENCE)
        self._starts = 0

    @staticmethod
    def possible() -> bool:
        """Whether this system has what helpers need, and this program an interpreter that can be started."""
        return hasattr(os, "memfd_create") and bool(sys.executable) and not getattr(sys, "frozen", False)

    def miss(self) -> None:
        """Say that it could have helped if it were ready. It isn't waited for."""
        now = time.monotonic()
        self._missed.append(now)
        if len(self._missed) == PATIENCE and now - self._missed[0] < 1 and self._process is None and self._starts <= _AGAIN:
            self._missed.clear()
            self._start()

    def _start(self) -> None:
        self._starts += 1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = os.memfd_create("exportweb")
        try:
            os.ftruncate(memory, MEMORY)
            self._memory = mmap.mmap(memory, MEMORY)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), str(memory), *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # it would start as many threads as there are CPUs, for nothing
                pass_fds=(theirs.fileno(), memory),
            )
            self._socket = ours
        except OSError as error:
            log.info("No process can be started to prepare images, so threads do it: %s", error)
            self._starts = _AGAIN + 1
            ours.close()
        finally:
            theirs.close()
            os.close(memory)

    def look(self) -> bool:
        """Return whether it can be asked, which `ready` says from then on."""
        if not self.ready and self._socket is not None:
            with contextlib.suppress(BlockingIOError):
                self.ready = bool(self._received(socket.MSG_DONTWAIT))
        return self.ready

    def prepare(self, description: bytes, images: Sequence[bytes], *, max_pixels: int) -> list[Prepared | RequestError | None]:
        """Return what comes of at most `MOST` images: None where they have to be prepared here. Only for who has seen that it is ready."""
        assert self._memory is not None
        assert self._socket is not None
        sizes: list[int] = []
        for data in images:
            if sum(sizes) + len(data) > MEMORY // 2:
                break
            self._memory[sum(sizes) : sum(sizes) + len(data)] = data
            sizes.append(len(data))
        with contextlib.suppress(ConnectionError):  # it has ended, as is seen next
            self._socket.send(msgspec.msgpack.encode(Wanted(description, max_pixels, sizes)))
        reply = self._received()
        found: list[Prepared | RequestError | None] = []
        try:
            found = [self._result(one) for one in self._decode(reply)] if reply else []
        except (msgspec.MsgspecError, ValueError, TypeError) as error:  # what an image did to it, its word is not to be trusted any more
            log.warning("A process that prepares images answered nonsense and is ended: %s", error)
            self.close()
        return [*found, *[None] * (len(images) - len(found))]

    def close(self) -> None:
        """End the process."""
        self.ready = False
        if self._socket is not None:
            self._socket.close()  # at which it ends
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._memory = None

    def _received(self, flags: int = 0) -> bytes:
        """Return its next message, nothing if it has ended; raise `BlockingIOError` if it isn't to be waited for and there is none."""
        assert self._socket is not None
        message = b""
        with contextlib.suppress(ConnectionError):
            message = self._socket.recv(MESSAGE, flags)
        if not message:
            log.warning("A process that prepares images has ended; another takes its place, and threads do its work until then.")
            self.close()
        return message

    def _result(self, found: Found | Refused | None) -> Prepared | RequestError | None:
        if isinstance(found, Refused):
            kind = _REFUSALS.get(found.kind)
            return None if kind is None else kind(found.message)
        if found is None:
            return None
        return Prepared({name: self._array(placed) for name, placed in found.arrays.items()}, found.stages, found.size)

    def _array(self, placed: Placed) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        """Return a copy of an array, made without releasing the GIL: it takes microseconds, having that again may take longer."""
        assert self._memory is not None
        dtype = np.dtype(placed.dtype)
        size = math.prod(placed.shape) * dtype.itemsize
        return np.frombuffer(self._memory[placed.start : placed.start + size], dtype).reshape(placed.shape)
