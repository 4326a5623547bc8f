"""What a server says as it goes: its events, followed, and its metrics, read."""

from __future__ import annotations

import json
import queue
import threading
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from serving import Server


class Stream:
    """Follows a server's events in a thread."""

    def __init__(self, url: str) -> None:
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.lines: list[str] = []
        self.headers: httpx.Headers | None = None
        self.open = threading.Event()
        self._thread = threading.Thread(target=self._follow, args=(url,), daemon=True)
        self._thread.start()
        assert self.open.wait(30)

    def _follow(self, url: str) -> None:
        kind = ""
        with httpx.stream("GET", f"{url}/events", timeout=60) as answer:
            self.headers = answer.headers
            for line in answer.iter_lines():
                self.lines.append(line)
                self.open.set()
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    self.events.put((kind, json.loads(line[6:])))

    def next(self) -> tuple[str, Any]:
        return self.events.get(timeout=30)

    def until(self, kind: str) -> Any:
        while True:
            name, data = self.next()
            if name == kind:
                return data

    def ended(self) -> bool:
        self._thread.join(10)
        return not self._thread.is_alive()


def read(server: Server) -> dict[tuple[str, ...], float]:
    """Samples by name and the values of their labels."""
    answer = server.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}
