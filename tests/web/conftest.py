"""Servers to ask: one in a process, shared by the tests of a module, and apps in a thread of this one."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from browsing import RECORD
from serving import Artifacts, Server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, artifacts: Artifacts) -> Iterator[Server]:
    """A server of one file whose version is 7."""
    folder = tmp_path_factory.mktemp("served")
    path = artifacts.write(folder / "colours.onnx", version=7, epoch=3, metrics={"accuracy": 0.5})
    args = ("--max-upload", "100000", "--max-pixels", "1000000", "--cors", "https://example.org")
    with Server(path, *args, log=folder / "log") as server:
        yield server


class AppServer:
    """An ASGI app on a free port, served by a thread of this process."""

    def __init__(self, app: Any, *, http: Any = "auto") -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self.http = httpx.Client(base_url=self.url, timeout=30)
        config = uvicorn.Config(app, http=http, lifespan="off", log_config=None, log_level="critical", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def close(self) -> None:
        self.http.close()
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def serve_app() -> Iterator[Callable[..., AppServer]]:
    """Serve apps until the test ends."""
    with contextlib.ExitStack() as stack:

        def start(app: Any, **options: Any) -> AppServer:
            server = AppServer(app, **options)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def serve_model(tmp_path: Path, artifacts: Artifacts, serve_app: Callable[..., AppServer]) -> Iterator[Callable[..., AppServer]]:
    """Serve a model's app with these options of `create_app`; `slow`, `max_queue` and so on are the model's own."""
    from exportweb.runtime import ServedModel
    from exportweb.web import create_app
    from exportweb.web.connection import Connections

    with contextlib.ExitStack() as stack:

        def start(*, slow: float = 0, max_queue: int = 256, **options: Any) -> AppServer:
            path = artifacts.write(tmp_path / "model.onnx", slow=slow)
            model = ServedModel(path, device="cpu", max_queue=max_queue, tuning_budget=0)
            stack.callback(model.close, 0)
            model.start(wait=True)
            app = create_app({"model": model}, **options)
            server = serve_app(app, http=Connections(limit=1000, refusal=app.state.refusal, full=app.state.full))
            server.model = model  # type: ignore[attr-defined]
            return server

        yield start


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """Open sockets to send exactly what a test wants to send."""
    with contextlib.ExitStack() as stack:

        def start(address: tuple[str, int], data: bytes = b"") -> socket.socket:
            connection = stack.enter_context(socket.create_connection(address, timeout=30))
            connection.sendall(data)
            return connection

        yield start


RUN = """
import json, sys
from exportweb.web import connection, server
from exportweb.runtime import ServedModel

path, max_queue, options = sys.argv[1:]
connection.HEAD_TIMEOUT = connection.SEND_TIMEOUT = 0.3
model = ServedModel(path, device="cpu", max_queue=int(max_queue), tuning_budget=0)
model.start(wait=True)
server.run({"colours": model}, name="colours", port=0, **json.loads(options))
"""


class Run:
    """`exportweb.web.run` in a process of its own, on a free port."""

    def __init__(self, path: Path, *, max_queue: int, **options: Any) -> None:
        command = [sys.executable, "-c", RUN, path, str(max_queue), json.dumps(options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = "127.0.0.1", int(self.process.stdout.readline().rpartition(":")[2])
        self.url = f"http://127.0.0.1:{self.address[1]}"

    def close(self) -> tuple[int, str]:
        """Ask it to stop; return its exit code and what it has written to stderr."""
        self.process.terminate()
        log = self.process.communicate(timeout=60)[1]
        return self.process.returncode, log


@pytest.fixture
def serve_run(tmp_path: Path, artifacts: Artifacts) -> Iterator[Callable[..., Run]]:
    """Run servers with these options of `run`, with 0.3 s for a request's head and for an answer to be taken."""
    with contextlib.ExitStack() as stack:

        def start(*, slow: float = 0, max_queue: int = 256, **options: Any) -> Run:
            run = Run(artifacts.write(tmp_path / "run.onnx", slow=slow), max_queue=max_queue, **options)
            stack.callback(run.process.communicate)
            stack.callback(run.process.terminate)
            return run

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *CAMERA])
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(15_000)
    expect.set_options(timeout=15_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    page = context.new_page()
    page.add_init_script(RECORD)
    return page


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser complains about: console errors, uncaught exceptions, violations of its content policy."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("requestfailed", lambda request: found.append(f"{request.url}: {request.failure}"))
    return found
