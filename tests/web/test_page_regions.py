"""The page of a model that shares a picture out among labels, in a real browser, on a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

import found
from found import HEIGHT, WIDTH, ask, colour, pixel, to_screen
from serving import Server

LABELS = ("road", "sky", "tree", "car")


def semantic() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Logits: sky above, below it road to the left and tree to the right, no car."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    sky = y < HEIGHT // 2
    return np.stack([~sky & (x < WIDTH // 4), sky, ~sky & (x >= WIDTH // 4), sky & ~sky]).astype(np.float32)


def test_regions_have_their_share_of_the_picture(page: Page, complaints: list[str], serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(found.write(tmp_path / "street.onnx", "semantic-segmentation", {"semantic": semantic()}, labels=LABELS))
    ask(page, server)
    legend = page.get_by_role("group", name="Labels").get_by_role("button")
    expect(legend).to_have_text(["sky50.0%", "tree37.5%", "road12.5%"])
    expect(page.get_by_role("img", name="sky 50.0%, tree 37.5%, road 12.5%")).to_be_visible()
    for label, x, y in (("sky", 5, 5), ("road", 5, 115), ("tree", 155, 115)):
        painted = pixel(page, x, y)
        assert max(abs(a - b) for a, b in zip(painted[:3], colour(page, label)[:3], strict=True)) < 6
        assert 60 < painted[3] < 200  # the picture shines through

    page.get_by_role("slider", name="Opacity").fill("0")
    assert pixel(page, 5, 5)[3] == 0
    page.get_by_role("slider", name="Opacity").fill("1")
    page.mouse.move(*to_screen(page, 5, 115))  # names the road, and brings it out
    expect(page.locator(".legend .marked")).to_have_text("road12.5%")
    assert pixel(page, 5, 115)[3] > 2 * pixel(page, 5, 5)[3] > 0
    page.mouse.move(0, 0)
    expect(page.locator(".legend .marked")).to_have_count(0)

    legend.filter(has_text="sky").click()
    page.mouse.move(0, 0)
    page.get_by_role("button", name="Copy JSON").focus()
    assert pixel(page, 5, 5)[3] == 0
    assert pixel(page, 5, 115)[3] > 0
    assert complaints == []


def test_things_of_a_kind_are_counted(page: Page, serve: Callable[..., Server], tmp_path: Path) -> None:
    outputs = {**found.detections(2), "image-masks": found.discs()[:2], "semantic": semantic()[:3]}
    server = serve(found.write(tmp_path / "scene.onnx", "panoptic-segmentation", outputs, stuff=("things", "sky", "tree")))
    ask(page, server)
    circles = page.get_by_role("group", name="Labels").get_by_role("button", name="circle 2")
    expect(circles).to_be_visible()
    circles.hover()
    assert pixel(page, 30, 55)[3] > 2 * pixel(page, 155, 115)[3]
