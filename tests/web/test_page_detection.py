"""The page of a model that finds things in a picture, in a real browser, on a real server."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

import found
from browsing import choose
from found import BOXES, ask, colour, jpeg, near, pixel, to_screen
from serving import Server


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that finds two circles, a square in one of them, and what may be a star, each with its mask."""
    folder = tmp_path_factory.mktemp("segmenter")
    path = found.write(folder / "shapes.onnx", "instance-segmentation", {**found.detections(), "image-masks": found.discs()})
    with Server(path, log=folder / "log") as server:
        yield server


def rows(page: Page) -> Locator:
    return page.get_by_role("listbox", name="Detections").get_by_role("option")


def chosen(page: Page) -> list[str]:
    return page.locator(".thing[aria-selected=true]").all_inner_texts()


def predict(server: Server, **params: object) -> list[dict[str, object]]:
    answer = httpx.post(f"{server.url}/predict", params=params, content=jpeg()).raise_for_status().json()
    assert isinstance(answer, list)
    return answer


def middle(box: tuple[int, ...]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def test_boxes_and_masks_are_where_the_api_says(page: Page, complaints: list[str], segmenter: Server) -> None:
    ask(page, segmenter)
    expect(rows(page)).to_have_count(3)
    answer = predict(segmenter, threshold=0.5)
    assert rows(page).all_inner_texts() == ["circle\n40 × 40\n90.0%", "circle\n40 × 40\n80.0%", "square\n20 × 20\n70.0%"]  # noqa: RUF001
    for item in answer:
        box, own = item["box"], colour(page, str(item["label"]))
        assert isinstance(box, dict)
        x, y = box["xmin"] + 3, box["ymax"] - 3  # beside the disc and the name
        for edge in ((box["xmin"], y), (box["xmax"], y), (x, box["ymax"])):
            assert near(pixel(page, *edge), own), (item["label"], edge)
        assert pixel(page, x, y)[3] == 0 or item["label"] == "square"  # which lies within a circle
    tinted = pixel(page, *middle(BOXES[0]))
    assert near(tinted[:3], colour(page, "circle")[:3])
    assert 80 < tinted[3] < 130  # the picture shines through
    assert pixel(page, *middle(BOXES[3]))[3] == 0  # 30%
    expect(page.get_by_role("img", name="2 circles, 1 square")).to_be_visible()
    expect(page.locator("#announcer")).to_have_text("2 circles, 1 square, says version 1.")
    assert complaints == []


def test_the_canvas_has_the_pixels_of_the_screen(browser: Browser, segmenter: Server) -> None:
    context = browser.new_context(device_scale_factor=2, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    ask(page, segmenter)
    width, shown = page.locator(".overlay").evaluate("(canvas) => [canvas.width, canvas.getBoundingClientRect().width]")
    assert abs(width - 2 * shown) <= 1
    assert near(pixel(page, BOXES[0][0], 57), colour(page, "circle"))
    context.close()


def test_the_slider_filters_without_asking_again(page: Page, segmenter: Server) -> None:
    ask(page, segmenter)
    threshold = page.get_by_role("slider", name="Threshold")
    threshold.fill("0.2")
    expect(rows(page)).to_have_count(4)
    assert near(pixel(page, BOXES[3][0], 107), colour(page, "star"))
    threshold.fill("0.85")
    expect(rows(page)).to_have_count(1)
    assert pixel(page, BOXES[3][0], 107)[3] == 0
    threshold.fill("0.95")
    expect(page.locator("#answer")).to_contain_text("Nothing scores more than 95%. The best is circle with 90.0%.")
    assert page.evaluate("window.sent.length") == 1


def test_pointing_at_the_list_shows_it_in_the_picture(page: Page, segmenter: Server) -> None:
    ask(page, segmenter)
    rows(page).nth(2).hover()
    assert near(pixel(page, BOXES[2][0], 57), colour(page, "square"))
    assert pixel(page, BOXES[0][0], 57)[3] < 100  # the others step back
    page.mouse.move(0, 0)
    assert pixel(page, BOXES[0][0], 57)[3] == 255


def test_pointing_at_the_picture_shows_it_in_the_list(page: Page, segmenter: Server) -> None:
    ask(page, segmenter)
    page.mouse.move(*to_screen(page, *middle(BOXES[2])))  # the square, which is smaller than the circle around it
    assert [text.split("\n")[0] for text in chosen(page)] == ["square"]
    page.mouse.move(*to_screen(page, BOXES[1][0] + 5, middle(BOXES[1])[1]))
    assert chosen(page) == [rows(page).nth(1).inner_text()]
    page.mouse.move(*to_screen(page, 5, 5))
    assert chosen(page) == []


def test_the_list_works_by_keyboard(page: Page, segmenter: Server) -> None:
    ask(page, segmenter)
    page.get_by_role("slider", name="Threshold").focus()
    for _ in range(3):  # over the legend's two labels
        page.keyboard.press("Tab")
    expect(rows(page).first).to_be_focused()
    for key, row in (("End", 2), ("ArrowUp", 1), ("Home", 0), ("ArrowDown", 1)):
        page.keyboard.press(key)
        expect(rows(page).nth(row)).to_be_focused()
        assert chosen(page) == [rows(page).nth(row).inner_text()]
    assert pixel(page, BOXES[0][0], 57)[3] < 100
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Save picture")).to_be_focused()
    assert chosen(page) == []


def test_a_label_can_be_hidden(page: Page, segmenter: Server) -> None:
    ask(page, segmenter)
    circles = page.get_by_role("group", name="Labels").get_by_role("button", name="circle 2")
    circles.click()
    expect(circles).to_have_attribute("aria-pressed", "false")
    expect(rows(page)).to_have_count(1)
    assert pixel(page, BOXES[0][0], 57)[3] == 0
    circles.click()
    expect(rows(page)).to_have_count(3)


@pytest.mark.parametrize("orientation", [1, 6], ids=["upright", "on its side"])
def test_the_picture_can_be_saved(page: Page, segmenter: Server, orientation: int) -> None:
    ask(page, segmenter, jpeg(orientation))
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    assert download.value.suggested_filename == "shapes.png"
    saved = Image.open(download.value.path())
    assert (saved.format, saved.size) == ("PNG", (found.WIDTH, found.HEIGHT))
    pixels = np.asarray(saved.convert("RGB")).astype(int)
    assert abs(pixels[5, 5] - 128).max() < 3
    assert near(tuple(pixels[50, BOXES[0][0]]), colour(page, "circle")[:3])


def test_the_answer_can_be_copied(context: BrowserContext, page: Page, segmenter: Server) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(page, segmenter)
    page.get_by_role("slider", name="Threshold").fill("0.75")
    page.get_by_role("button", name="Copy JSON").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert json.loads(page.evaluate("navigator.clipboard.readText()")) == predict(segmenter, threshold=0.75, masks="rle")


def test_points_and_their_limbs(page: Page, serve: Callable[..., Server], tmp_path: Path) -> None:
    names = ("left_knee", "left_ankle", "right_ankle")
    points = np.array([[[20, 30, 0.9], [20, 50, 0.9], [40, 40, 0.01]]], np.float32)  # the last is a guess
    server = serve(
        found.write(
            tmp_path / "people.onnx",
            "keypoint-detection",
            {**found.detections(1), "keypoints": points},
            labels=("person",),
            keypoints=names,
        )
    )
    ask(page, server)
    own = colour(page, "person")
    assert near(pixel(page, 20, 30), own)
    assert pixel(page, 20, 40)[3] > 200  # between knee and ankle
    assert pixel(page, 25, 40)[3] == pixel(page, 40, 40)[3] == 0


def test_versions_are_compared_by_what_they_found(page: Page, serve: Callable[..., Server], tmp_path: Path) -> None:
    path = found.write(tmp_path / "shapes.onnx", "object-detection", found.detections(1))
    server = serve(path)
    ask(page, server)
    expect(page.locator("#curl")).to_have_text(f"curl --data-binary @image.jpg {server.url}/predict")
    found.write(tmp_path / "part", "object-detection", found.detections()).replace(path)
    expect(page.locator("#history li")).to_have_text(["v1 1 circle", "v2 2 circles, 1 square"])
    page.get_by_role("slider", name="Threshold").fill("0.1")
    expect(page.locator("#history li")).to_have_text(["v1 1 circle", "v2 2 circles, 1 square, 1 star"])


def test_a_label_keeps_its_colour(page: Page, segmenter: Server) -> None:
    ask(page, segmenter)
    before, after, many = page.evaluate(
        """async () => {
          const { createPalette } = await import('/static/palette.js');
          const named = (count) => Array.from({ length: count }, (_, i) => `class_${i}`);
          const colours = (labels) => labels.map(createPalette(labels));
          return [colours(named(6)), colours(named(6)), colours(named(36))];
        }"""
    )
    assert before == after
    assert len(set(before)) == 6  # none alike
    assert len(set(many)) == 36


def test_what_was_found_goes_with_the_picture(page: Page, segmenter: Server) -> None:
    ask(page, segmenter)
    choose(page, b"not an image", name="notes.txt")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator(".overlay")).to_have_count(0)
    tiff = io.BytesIO()
    Image.open(io.BytesIO(jpeg())).save(tiff, "TIFF")
    choose(page, tiff.getvalue(), name="photo.tif")  # which the server reads and the browser doesn't
    expect(rows(page)).to_have_count(3)
    expect(page.get_by_role("button", name="Save picture")).to_be_disabled()


def test_fits_a_phone(browser: Browser, segmenter: Server) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = context.new_page()
    ask(page, segmenter)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    page.locator(".overlay").scroll_into_view_if_needed()
    page.touchscreen.tap(*to_screen(page, *middle(BOXES[0])))
    assert chosen(page) == [rows(page).first.inner_text()]
    context.close()
