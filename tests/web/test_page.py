"""The page, in a real browser, on a real server."""

from __future__ import annotations

import base64
import io
import re
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect

from browsing import SEND_FILE, LiveServer, bars, choose, draw, expected_bars, last_sent, open_page, png


def test_loads_without_a_complaint(page: Page, complaints: list[str], live_server: LiveServer) -> None:
    version = live_server.publish(0.9, epoch=1)
    open_page(page, live_server, version)
    choose(page, png())
    expect(bars(page)).to_have_count(5)
    model = httpx.get(f"{live_server.url}/model").json()
    expect(page).to_have_title(f"{model['name']} v{version}")
    expect(page.get_by_role("heading", level=1)).to_have_text(model["name"])
    assert complaints == []


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

    page.get_by_role("button", name="Invert").click()
    deadline = time.monotonic() + 15  # the last stroke may still be on its way
    while Image.open(io.BytesIO(last_sent(page))).convert("L").getpixel((0, 0)) != 255:
        assert time.monotonic() < deadline, "the inverted drawing was never sent"
        page.wait_for_timeout(50)

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
