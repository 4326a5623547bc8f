"""How soon the page shows other objects in the picture when the threshold moves or the pointer goes over the list, in Chromium.

    python benchmarks/page.py [COUNT ...]

Needs the development extra and Chromium. The objects have masks and are spread over a picture of 1280 x 960 pixels. The time is from the
event to the end of the animation frame that draws it; there is one every 16.7 ms, which waiting for it may take alone.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import found
from browsing import choose
from measure import table
from serving import Server

WIDTH, HEIGHT = 1280, 960
COUNTS = [30, 300]
_TIMED = """async (element) => {
  const took = [];
  for (let i = 0; i < 40; i++) {
    const start = performance.now();
    EVENT
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    took.push(performance.now() - start);
  }
  return took;
}"""
MOVE = _TIMED.replace("EVENT", "element.value = (i % 10) / 20; element.dispatchEvent(new Event('input', { bubbles: true }));")
POINT = _TIMED.replace("EVENT", "element.children[i % element.children.length].dispatchEvent(new Event('pointerover', { bubbles: true }));")


def model(folder: Path, count: int) -> Path:
    """Write a model that finds so many squares with masks, of scores above the threshold that a page begins with."""
    rng = np.random.default_rng(0)
    corner = rng.uniform((0, 0), (WIDTH - 120, HEIGHT - 120), (count, 2))
    outputs = {
        "boxes": np.concatenate([corner, corner + rng.uniform(30, 120, (count, 2))], 1).astype(np.float32),
        "scores": np.linspace(0.99, 0.51, count, dtype=np.float32),
        "classes": rng.integers(0, len(found.LABELS), count),
        "masks": rng.random((count, 28, 28), np.float32),
    }
    return found.write(folder / f"{count}.onnx", "instance-segmentation", outputs)


def measure(page: Page, folder: Path, count: int) -> list[str]:
    """Return the row of so many objects."""
    picture = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (128, 128, 128)).save(picture, "JPEG")
    with Server(model(folder, count), log=folder / "log") as server:
        page.goto(server.url)
        expect(page.locator("#connection")).to_have_text("Live")
        choose(page, picture.getvalue(), name="photo.jpg")
        expect(page.get_by_role("option")).to_have_count(count)
        slider, things = page.get_by_role("slider", name="Threshold"), page.get_by_role("listbox", name="Detections")
        cells = []
        for element, script in ((slider, MOVE), (things, POINT)):
            took = sorted(element.evaluate(script))
            cells.append(f"{statistics.median(took):.0f} / {took[-1]:.0f}")
    return [str(count), *cells]


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or COUNTS
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1240, "height": 940})
        rows = [measure(page, Path(folder), count) for count in counts]
        browser.close()
    table("The page with many objects", ["objects", "threshold moves: median / longest, ms", "pointer moves"], rows)


if __name__ == "__main__":
    main()
