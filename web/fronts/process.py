"""The process of fronts: they are forked from one new interpreter, since the server has threads and may have CUDA, and share its memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import mmap
import os
import signal
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from exportweb.web.fronts.board import Board


class Begin(msgspec.Struct, array_like=True, frozen=True):
    """What fronts are started with: for each its number and its descriptors of files (messages, connections, memory); the board's, and what
    all have in common: the models' numbers by path, and the limits.
    """

    fronts: list[tuple[int, int, int, int]]
    board: int
    paths: dict[str, int]
    max_pixels: list[int]
    max_upload: int
    max_held: int
    timeout: float
    keep_alive: float


_decode = msgspec.json.Decoder(Begin).decode


def main(told: str) -> None:
    """Fork the fronts that are described by JSON, and wait until they have ended."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # of a terminal or a service, they reach all processes; the server decides
        signal.signal(stop, signal.SIG_IGN)
    begin = _decode(told)
    module: Any = importlib.import_module("exportweb.web.fronts.front")
    gc.freeze()  # what is there now stays, and stays shared
    for number, *files in begin.fronts:
        if not os.fork():
            _close(file for other in begin.fronts if other[0] != number for file in other[1:])
            _run(module.Front, begin, number, files)
            os._exit(0)
    _close(file for other in begin.fronts for file in other[1:])
    os.close(begin.board)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _close(files: Iterable[int]) -> None:
    for file in files:
        os.close(file)


def _run(front: Any, begin: Begin, number: int, files: Sequence[int]) -> None:
    messages, connections, memory = files
    work = front(begin, number, mmap.mmap(memory, 0), Board(begin.board, models=len(begin.max_pixels)))
    os.close(memory)
    run = asyncio.run
    with contextlib.suppress(ImportError):
        run = importlib.import_module("uvloop").run
    run(work.run(socket.socket(fileno=messages), socket.socket(fileno=connections)))
