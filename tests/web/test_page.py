"""The page, in a real browser, on a real server."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from exportweb import Store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
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


def test_loads_without_a_complaint(page: Page, complaints: list[str], live_server: LiveServer) -> None:
    version = live_server.publish(0.9, epoch=1)
    open_page(page, live_server, version)
    choose(page, png())
    expect(bars(page)).to_have_count(5)
    model = httpx.get(f"{live_server.url}/model").json()
    expect(page).to_have_title(f"{model['name']} v{version}")
    expect(page.get_by_role("heading", level=1)).to_have_text(model["name"])
    assert complaints == []


def test_waits_for_the_first_version_and_comes_alive_by_itself(page: Page, live_server: LiveServer) -> None:
    open_page(page, live_server)
    expect(page.locator("#answer")).to_contain_text("Waiting for the first version")
    choose(page, png())
    version = live_server.publish(0.5, epoch=1)
    expect(page.locator("#answer-version .badge")).to_have_text(f"v{version}")
    expect(bars(page)).to_have_text(expected_bars(live_server, png()))


def test_a_chosen_file_is_answered_as_the_api_answers_it(page: Page, live_server: LiveServer) -> None:
    version = live_server.publish(0.9, epoch=3)
    open_page(page, live_server, version)
    choose(page, png(1))
    expect(bars(page)).to_have_text(expected_bars(live_server, png(1)))
    assert last_sent(page) == png(1)  # the file as it is
    expect(page.locator("#answer-version")).to_contain_text(re.compile(rf"v{version}.*epoch 3.*accuracy 0\.9"))
    expect(page.locator("#answer-version time")).to_have_text(re.compile(r"^(now|\d+ s ago)$"))
    expect(page.locator("#timings")).to_contain_text("inference")
    expect(page.locator("#caption")).to_have_text(re.compile(r"photo\.png · 64 \S 64 · \d+ kB"))
    expect(page.locator("#announcer")).to_contain_text(f"says version {version}")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_dropped_or_pasted_image_is_answered(page: Page, live_server: LiveServer, kind: str) -> None:
    open_page(page, live_server, live_server.publish(0.9, epoch=1))
    page.get_by_role("button", name="Draw").click()
    page.evaluate(SEND_FILE, [kind, "cat.png", "image/png", base64.b64encode(png(2)).decode()])
    expect(bars(page)).to_have_text(expected_bars(live_server, png(2)))
    expect(page.locator("#preview")).to_be_visible()
    expect(page.locator("#drop")).to_be_hidden()


def test_a_drawing_is_answered_live(page: Page, live_server: LiveServer) -> None:
    open_page(page, live_server, live_server.publish(0.9, epoch=1))
    with page.expect_request("**/predict*"):
        draw(page)
    drawing = Image.open(io.BytesIO(last_sent(page)))
    assert drawing.format == "PNG"
    assert drawing.convert("L").getpixel((0, 0)) == 0
    assert drawing.convert("L").getextrema() == (0, 255)  # light ink on black
    expect(bars(page)).to_have_count(5)

    with page.expect_request("**/predict*"):
        page.get_by_role("button", name="Invert").click()
    assert Image.open(io.BytesIO(last_sent(page))).convert("L").getpixel((0, 0)) == 255

    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#answer")).to_contain_text("Nothing asked yet")


def test_the_camera_gives_a_still_and_is_switched_off(page: Page, live_server: LiveServer) -> None:
    open_page(page, live_server, live_server.publish(0.9, epoch=1))
    page.get_by_role("button", name="Camera").click()
    tracks = page.evaluate_handle(
        "async () => { const video = document.querySelector('#video');"
        " while (!video.srcObject) await new Promise(requestAnimationFrame);"
        " return video.srcObject.getTracks(); }"
    )
    page.get_by_role("button", name="Capture").click()
    expect(bars(page)).to_have_count(5)
    assert tracks.evaluate("(tracks) => tracks.map((track) => track.readyState)") == ["ended"]

    page.get_by_role("button", name="Take another").click()
    expect(page.get_by_role("button", name="Capture")).to_be_enabled()
    tracks = page.evaluate_handle("() => document.querySelector('#video').srcObject.getTracks()")
    page.get_by_role("button", name="Image", exact=True).click()
    assert tracks.evaluate("(tracks) => tracks.map((track) => track.readyState)") == ["ended"]


def test_a_new_version_is_shown_and_asked_about_the_last_image(page: Page, live_server: LiveServer) -> None:
    first = live_server.publish(0.5, epoch=1)
    open_page(page, live_server, first)
    choose(page, png(3))
    expect(page.locator("#answer-version .badge")).to_have_text(f"v{first}")
    expect(bars(page)).to_have_text(expected_bars(live_server, png(3)))

    second = live_server.publish(0.75, epoch=2, scale=3.0)
    expect(page.locator("#serving .badge")).to_have_text(f"v{second}")
    expect(page.locator("#answer-version")).to_contain_text("epoch 2")
    expect(bars(page)).to_have_text(expected_bars(live_server, png(3)))
    expect(page.locator("#announcer")).to_contain_text(f"Version {second} is serving now, accuracy 0.75.")
    expect(page.locator("#history li")).to_have_count(2)
    expect(page.locator("#chart .last-value")).to_have_text("0.75")
    expect(row(page, first)).to_contain_text("retired")
    expect(row(page, second)).to_contain_text("serving")


def test_the_chart_reads_out_values_by_pointer_and_by_key(page: Page, live_server: LiveServer) -> None:
    open_page(page, live_server, live_server.publish(0.25, epoch=1))
    live_server.publish(0.75, epoch=2)
    plot = page.get_by_role("slider", name="accuracy over the versions")
    expect(page.locator("#chart .last-value")).to_have_text("0.75")
    plot.hover(position={"x": 60, "y": 100})
    expect(page.locator("#chart .tip")).to_contain_text("accuracy 0.25")
    page.mouse.move(0, 0)
    expect(page.locator("#chart .tip")).to_be_hidden()
    plot.focus()
    page.keyboard.press("End")
    expect(page.locator("#chart .tip")).to_contain_text("accuracy 0.75")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#chart .tip")).to_contain_text("accuracy 0.25")
    expect(plot).to_have_attribute("aria-valuetext", re.compile("accuracy 0.25"))


def test_a_rejected_and_a_refused_version_show_why(page: Page, live_server: LiveServer) -> None:
    serving = live_server.publish(0.9, epoch=1)
    open_page(page, live_server, serving)
    live_server.reject(2)
    live_server.refuse("The weights are not finite: fc.weight.", epoch=3)

    rejected = page.locator("#versions li[data-state=rejected]")
    expect(rejected).to_contain_text("epoch 2")
    (reason,) = [info["reason"] for info in httpx.get(f"{live_server.url}/versions").json()["versions"] if info["state"] == "rejected"]
    expect(rejected.locator(".reason")).to_have_text(reason)
    refused = page.locator("#versions li[data-state=refused]")
    expect(refused).to_contain_text("epoch 3")
    expect(refused.locator(".reason")).to_have_text("The weights are not finite: fc.weight.")
    expect(page.locator("#serving .badge")).to_have_text(f"v{serving}")
    expect(page.locator("#chart .cross")).to_have_count(2)


def test_what_is_not_an_image_shows_the_servers_words(page: Page, live_server: LiveServer) -> None:
    open_page(page, live_server, live_server.publish(0.9, epoch=1))
    choose(page, png())
    expect(bars(page)).to_have_count(5)
    choose(page, b"not an image", name="notes.txt")
    error = httpx.post(f"{live_server.url}/predict", content=b"not an image").json()["error"]
    expect(page.get_by_role("alert")).to_have_text(error)
    expect(bars(page)).to_have_count(0)
    choose(page, png())
    expect(bars(page)).to_have_count(5)
    expect(page.locator("#problem")).to_be_hidden()


def test_a_slow_answer_never_overwrites_a_newer_one(page: Page, live_server: LiveServer) -> None:
    open_page(page, live_server, live_server.publish(0.9, epoch=1))
    held: list[Callable[[], None]] = []

    def hold_the_first(route: object) -> None:
        proceed = route.continue_  # type: ignore[attr-defined]
        if held:
            proceed()
        else:
            held.append(proceed)

    page.route("**/predict*", hold_the_first)
    choose(page, png(4))
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "true")
    choose(page, png(5))
    expect(bars(page)).to_have_text(expected_bars(live_server, png(5)))
    held[0]()
    page.unroute_all(behavior="wait")
    expect(bars(page)).to_have_text(expected_bars(live_server, png(5)))


def test_a_server_that_went_away_is_found_again(page: Page, live_server: LiveServer) -> None:
    first = live_server.publish(0.5, epoch=1)
    relay = Relay(live_server.url)
    try:
        page.goto(relay.url)
        expect(page.locator("#serving .badge")).to_have_text(f"v{first}")
        choose(page, png(6))
        expect(page.locator("#answer-version .badge")).to_have_text(f"v{first}")
        relay.cut()
        expect(page.locator("#connection")).to_contain_text("The server is away")
        second = live_server.publish(0.75, epoch=2)
        relay.mend()
        expect(page.locator("#connection")).to_have_text("Live")
        expect(page.locator("#answer-version .badge")).to_have_text(f"v{second}")
    finally:
        relay.cut()


def test_no_horizontal_overflow_on_a_phone(browser: Browser, live_server: LiveServer) -> None:
    version = live_server.publish(0.9, epoch=1)
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = context.new_page()
    open_page(page, live_server, version)
    live_server.reject(2)
    expect(page.locator("#versions .reason")).to_be_visible()
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0
    for mode in ("Image", "Draw", "Camera"):
        page.get_by_role("button", name=mode, exact=True).click()
        assert page.evaluate(overflow) == 0, mode
    choose(page, png(7, size=512), name=f"{'a-very-long-name-' * 8}.png")
    expect(bars(page)).to_have_count(5)
    assert page.evaluate(overflow) == 0
    context.close()


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_follows_the_colour_scheme(page: Page, live_server: LiveServer, scheme: str, dark: bool) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    open_page(page, live_server)
    colours = [page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")]
    background, text = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours)
    assert (background < 64 and text > 192) if dark else (background > 192 and text < 64)


def test_works_by_keyboard_alone(page: Page, live_server: LiveServer, tmp_path: Path) -> None:
    page.on("filechooser", lambda chooser: None)  # the browser takes a moment to hand choosers to a listener
    open_page(page, live_server, live_server.publish(0.9, epoch=1))

    def tab_to(name: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            focused = page.locator(":focus")
            if focused.count() and name in (focused.get_attribute("aria-label") or focused.inner_text()):
                style = focused.evaluate("(element) => getComputedStyle(element).outlineStyle")
                assert style == "solid", f"the focus on {name} can't be seen"
                return
        raise AssertionError(f"Tab never reached {name}")

    tab_to("Camera")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")  # Draw
    tab_to("Drawing pad")
    for key in (" ", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    expect(bars(page)).to_have_count(5)

    page.reload()
    expect(page.locator("#connection")).to_have_text("Live")
    tab_to("Image")
    page.keyboard.press("Enter")
    tab_to("Choose an image")
    photo = tmp_path / "photo.png"
    photo.write_bytes(png(8))
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(photo)
    expect(bars(page)).to_have_text(expected_bars(live_server, png(8)))


def test_the_curl_line_can_be_copied(context: BrowserContext, page: Page, live_server: LiveServer) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_page(page, live_server)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"curl --data-binary @image.jpg {live_server.url}/predict"


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
