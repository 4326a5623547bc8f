"""A client that asks at random moments, however long the answers take: Poisson arrivals, as a crowd of strangers makes them.

    python benchmarks/openloop.py URL IMAGE RATE SECONDS [SEED]

Prints a JSON list per request: when it was due (seconds since the epoch), seconds from then to the answer, status (0: the connection
broke), version, and the number of its connection. A closed loop, as wrk's, stops asking while it waits and so never sees a queue grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from pathlib import Path

import uvloop

Row = tuple[float, float, int, int, int]
TIMEOUT = 30.0


class Client:
    """Connections to one server, opened as they are needed and used again."""

    def __init__(self, url: str, body: bytes) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._address = (host, int(port))
        head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, int]] = []
        self._opened = 0
        self.rows: list[Row] = []

    async def ask(self, due: float) -> None:
        """Ask once and write down what came of it."""
        status = version = number = 0
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError):
            if self._idle:
                reader, writer, number = self._idle.pop()
            else:
                self._opened += 1
                number = self._opened
                reader, writer = await asyncio.open_connection(*self._address)
            status, version, keep = await asyncio.wait_for(self._exchange(reader, writer), TIMEOUT)
            if keep:
                self._idle.append((reader, writer, number))
            else:
                writer.close()
        self.rows.append((due, time.time() - due, status, version, number))

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, int, bool]:
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        await reader.readexactly(int(lines["content-length"]))
        return int(head.split(" ", 2)[1]), int(lines.get("x-model-version", 0)), lines.get("connection") != "close"


async def run(url: str, body: bytes, rate: float, seconds: float, seed: int = 0) -> list[Row]:
    """Ask `rate` times a second on average, for `seconds`; return all rows once the last is answered."""
    client, rng = Client(url, body), random.Random(seed)
    tasks: set[asyncio.Task[None]] = set()
    end = time.time() + seconds
    due = time.time()
    while (due := due + rng.expovariate(rate)) < end:
        await asyncio.sleep(max(0.0, due - time.time()))
        task = asyncio.create_task(client.ask(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.wait(tasks)
    return client.rows


def main() -> None:
    url, image, rate, seconds, *seed = sys.argv[1:]
    for row in uvloop.run(run(url, Path(image).read_bytes(), float(rate), float(seconds), *map(int, seed))):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
