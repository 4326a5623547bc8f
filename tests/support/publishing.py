"""A warm process that forks publishers to be killed, and a reader that verifies all that `LATEST` ever names.

Run as a script: ``publishing.py fork STORE GRAPH CARD`` or ``publishing.py read STORE``. Neither needs more than `exportweb` itself, so
that 200 publishers start and die within a minute.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

from exportweb import Card, Store, artifact
from exportweb.errors import StoreError


def publish(store: Store, graph: bytes, card: Card) -> None:
    """Publish as fast as it can, until the parent ends; say so after the first version."""

    parent = os.getppid()

    def write(file: BinaryIO, number: int) -> None:
        artifact.write(file, [graph], card.replace(version=number))

    with store.lock():
        first = store.publish(write)
        print(os.getpid(), first, flush=True)
        while os.getppid() == parent:
            store.publish(write)
            store.prune(3)


def fork(store: Store, graph: Path, card: Path) -> None:
    """For each line on stdin start a publisher; tell of its end, once it was killed."""
    content, described = graph.read_bytes(), Card.decode(card.read_bytes())
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            publish(store, content, described)
            os._exit(1)
        os.waitpid(pid, 0)
        print("ended", flush=True)


def read(store: Store) -> None:
    """Follow `LATEST` and verify each version that it names, until stdin ends; print how many there were."""
    import select

    verified = 0
    seen = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        latest = store.latest()
        if latest is None or latest.number == seen:
            continue
        assert latest.number > seen, f"LATEST went back from {seen} to {latest.number}"
        try:
            found = artifact.read(store.path(latest.number))
            artifact.verify(found)
        except (StoreError, FileNotFoundError):
            newest = store.latest()
            assert newest is not None and newest.number > latest.number, f"LATEST named {latest.number}, which wasn't there"
            continue  # pruned, since three versions were published meanwhile
        assert found.card is not None and found.card.version == latest.number
        seen, verified = latest.number, verified + 1
    print(verified, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "fork":
        fork(Store(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        read(Store(sys.argv[2]))
