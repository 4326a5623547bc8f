"""Starting fronts: a process of them, and what the server keeps of each."""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from exportweb.runtime import Answer, Job, usable_cpus
from exportweb.web.fronts import channel
from exportweb.web.fronts.process import Begin

MEMORY = 64 << 20
"""Bytes that a front shares with the server for arrays. What isn't used takes no memory."""

_MANY, _MOST = 8, 16  # CPUs that are worth fronts, and fronts: more would ask for more than one process answers
_START = "import sys; sys.path[:] = sys.argv[2:]; from exportweb.web.fronts.process import main; main(sys.argv[1])"

# BLAS would start as many threads as there are CPUs, for nothing. And glibc keeps the memory of a picture for the next one, rather than
# having each page of it made anew (https://man7.org/linux/man-pages/man3/mallopt.3.html).
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}


def suitable() -> int:
    """Return how many fronts suit this machine: one for each CPU, and none where a few threads keep all of them busy."""
    return min(usable_cpus(), _MOST) if usable_cpus() >= _MANY else 0


def possible() -> bool:
    """Whether this system has what fronts need, and this program an interpreter that can be started."""
    needed = hasattr(os, "memfd_create") and hasattr(os, "fork") and hasattr(socket, "send_fds")
    return needed and bool(sys.executable) and not getattr(sys, "frozen", False)


Files = tuple[int, int, int, int]
"""A front's number, and the descriptors of its ends: messages, connections, memory."""


class Spawned:
    """A front, as the server sees it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.messages, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.passed, their_files = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = os.memfd_create("exportweb-front")
        os.ftruncate(memory, MEMORY)
        self.memory = mmap.mmap(memory, MEMORY)
        self._theirs = (theirs.detach(), their_files.detach(), memory)
        self.process = 0
        self.connections = 0
        self.jobs: dict[int, Job] = {}
        self.outbox: deque[tuple[int, channel.Answered | channel.Failed | channel.Again, Answer | None]] = deque()
        self.channel: channel.Channel | None = None

    @property
    def files(self) -> Files:
        """What its process is told of it."""
        return self.number, *self._theirs

    def started(self) -> None:
        """Close its ends here, once its process has them."""
        for file in self._theirs:
            os.close(file)


def spawn(numbers: Sequence[int], begin: Callable[[list[Files]], Begin]) -> tuple[list[Spawned], subprocess.Popen[bytes]]:
    """Start fronts with these numbers; `begin` says what they are told, given their files. Raises `OSError`."""
    fronts = [Spawned(number) for number in numbers]
    try:
        told = begin([front.files for front in fronts])
        process = subprocess.Popen(
            [sys.executable, "-c", _START, msgspec.json.encode(told).decode(), *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
            pass_fds=[told.board, *(file for front in fronts for file in front.files[1:])],
        )
    finally:
        for front in fronts:
            front.started()
    return fronts, process
