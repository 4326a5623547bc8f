"""A person at the page: what one does there and sees there, in a real browser."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import socket
import threading
from typing import Protocol

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from exportweb import Store

STROKES = (((0.3, 0.2), (0.7, 0.2), (0.45, 0.8)), ((0.3, 0.5), (0.7, 0.5)))

# Gives an element or the document a real event that carries a real file.
SEND_FILE = """([kind, name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  const options = { bubbles: true, cancelable: true };
  const event = (kind) => kind === 'paste'
    ? new ClipboardEvent(kind, { ...options, clipboardData: data })
    : new DragEvent(kind, { ...options, dataTransfer: data });
  const kinds = kind === 'paste' ? ['paste'] : ['dragenter', 'dragover', 'drop'];
  for (const each of kinds) document.body.dispatchEvent(event(each));
}"""

# Keeps what the page sends, which the browser doesn't tell its driver for a Blob.
RECORD = """window.sent = [];
const send = window.fetch;
window.fetch = (resource, options) => {
  if (options?.body) window.sent.push(options.body);
  return send(resource, options);
};"""
LAST_SENT = """async () => {
  const bytes = new Uint8Array(await window.sent.at(-1).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
}"""


class LiveServer(Protocol):
    """The server that tests/conftest.py starts on an empty store."""

    url: str
    store: Store

    def publish(self, accuracy: float, epoch: int, scale: float = 1.0) -> int: ...
    def reject(self, reason_epoch: int) -> None: ...
    def refuse(self, reason: str, epoch: int) -> None: ...


def png(seed: int = 0, size: int = 64) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def bars(page: Page) -> Locator:
    return page.get_by_role("list", name="Top classes").get_by_role("listitem")


def expected_bars(server: LiveServer, data: bytes) -> list[re.Pattern[str]]:
    """What the API itself answers, as the page should show it."""
    answer = httpx.post(f"{server.url}/predict", params={"top_k": 5}, content=data).raise_for_status().json()
    return [re.compile(rf"^{re.escape(a['label'])}\s*{re.escape(format(a['score'], '.1%'))}$") for a in answer]


def open_page(page: Page, server: LiveServer, version: int | None = None) -> None:
    """Open the page; wait until it is connected and shows this version as the serving one."""
    page.goto(server.url)
    expect(page.locator("#connection")).to_have_text("Live")
    if version is not None:
        expect(page.locator("#serving .badge")).to_have_text(f"v{version}")


def choose(page: Page, data: bytes, name: str = "photo.png") -> None:
    page.locator("#file").set_input_files({"name": name, "mimeType": "image/png", "buffer": data})


def last_sent(page: Page) -> bytes:
    return base64.b64decode(page.evaluate(LAST_SENT))


def draw(page: Page) -> None:
    page.get_by_role("button", name="Draw").click()
    box = page.locator("#pad").bounding_box()
    assert box is not None
    for stroke in STROKES:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()


def row(page: Page, version: int) -> Locator:
    return page.locator("#versions li").filter(has=page.get_by_text(f"v{version}", exact=True))


class Relay:
    """A TCP relay in front of a server, whose connections can be cut and mended."""

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("http://").split(":")
        self.target = (host, int(port))
        self.address = ("127.0.0.1", 0)
        self.mend()
        self.url = f"http://127.0.0.1:{self.address[1]}"

    def mend(self) -> None:
        self.open: list[socket.socket] = []
        self.listener = socket.create_server(self.address)
        self.address = self.listener.getsockname()
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def cut(self) -> None:
        for connection in (self.listener, *self.open):
            with contextlib.suppress(OSError):  # closed by the other side already
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            self.open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):  # cut
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
