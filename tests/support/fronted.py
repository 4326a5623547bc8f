"""A server whose first request starts its fronts, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

RUN = """
import json, os, sys
from exportweb.web import server
from exportweb.web.fronts import fronts, spawn
from exportweb.runtime import ServedModel

paths, model_options, options, patches = (json.loads(word) for word in sys.argv[1:])
fronts.PATIENCE, fronts._CROWD = 1, -1
for module, names in patches.items():
    for name, value in names.items():
        setattr({"spawn": spawn, "server": server}[module], name, value)
models = {name: ServedModel(path, device="cpu", tuning_budget=0, **model_options) for name, path in paths.items()}
for model in models.values():
    model.start(wait=True)
server.run(models, name="models", port=0, **options)
os._exit(0)  # a thread may be inside a long run, and would abort the process if Python ended around it
"""


class Fronted:
    """A server of these models, by name, with `fronts`; the other options are those of `web.run`, `model` has the models' own.

    `patches` are values for names of the modules `spawn` and `server`.
    """

    def __init__(
        self,
        paths: dict[str, Path],
        *,
        fronts: int = 2,
        patches: dict[str, Any] | None = None,
        model: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        words = [{name: str(path) for name, path in paths.items()}, model or {}, {"fronts": fronts, **options}, patches or {}]
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *map(json.dumps, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.address = "127.0.0.1", int(self.process.stdout.readline().rpartition(":")[2])
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self.paths = list(paths)
        self._count = fronts
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def begin(self, image: bytes) -> Fronted:
        """Have the fronts started by a request, and wait for them."""
        path = "" if len(self.paths) == 1 else f"/models/{self.paths[0]}"
        assert self.processes() == []
        self.http.post(f"{path}/predict", content=image)
        self.wait(lambda: self.http.get(f"{path}/model").json()["runtime"]["fronts"] == self._count)
        return self

    def processes(self) -> list[int]:
        """The fronts' numbers: they are children of children."""
        found: list[int] = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                found += [front.pid for front in child.children()]
        return found

    def counted(self, status: int, model: str = "") -> float:
        """Return how many predictions were answered with a status."""
        model = model or self.paths[0]
        line = f'exportweb_requests_total{{model="{model}",path="/predict",status="{status}"}} '
        found = [text for text in self.http.get("/metrics").text.splitlines() if text.startswith(line)]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds, for half a minute."""
        end = time.monotonic() + 30
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.02)

    def connect(self, data: bytes = b"") -> socket.socket:
        """Open a connection and send something."""
        connection = socket.create_connection(self.address, timeout=30)
        connection.sendall(data)
        return connection

    def close(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it with a signal; return its exit code and what it has written to stderr."""
        self.http.close()
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        log = self.process.communicate(timeout=60)[1]
        return self.process.returncode, log
