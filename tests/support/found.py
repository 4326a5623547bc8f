"""Artifacts that find the same things in every picture, and what a page shows of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from playwright.sync_api import Page, expect

from browsing import choose
from exportweb import Card
from exportweb.card import ImageInput, Output, Source
from serving import Server
from tensors import model
from versions import pack

WIDTH, HEIGHT = 160, 120
LABELS = ("circle", "square", "star")
BOXES = ((10, 20, 50, 60), (70, 30, 110, 70), (80, 40, 100, 60), (120, 80, 150, 110))
SCORES = (0.9, 0.8, 0.7, 0.3)
CLASSES = (0, 0, 1, 2)  # 2 circles, 1 square within the second, and perhaps a star


def graph(outputs: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """A graph that takes one image of any size and answers these arrays."""
    nodes = [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)) for name, value in outputs.items()]
    shapes = [(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape) for name, value in outputs.items()]
    return model(nodes, [("image", TensorProto.UINT8, [1, "height", "width", 3])], shapes)


def write(path: Path, task: str, outputs: dict[str, np.ndarray[Any, Any]], **card: Any) -> Path:
    """Write an artifact whose outputs are called as their roles."""
    made = Card(
        name="shapes",
        task=task,
        input=ImageInput(height=0, width=0, resize="none", resize_height=0, resize_width=0, mean=(0.0,) * 3, std=(1.0,) * 3),
        outputs=tuple(Output(name=name, role=name) for name in outputs),
        source=Source(framework="numpy", model="constant", created="2026-01-02T03:04:05+00:00"),
        **{"labels": LABELS, **card},
    )
    path.write_bytes(pack(graph(outputs), made))
    return path


def detections(count: int = len(BOXES)) -> dict[str, np.ndarray[Any, Any]]:
    """The outputs of a detector that finds the first so many."""
    return {
        "boxes": np.array(BOXES[:count], np.float32).reshape(-1, 4),
        "scores": np.array(SCORES[:count], np.float32),
        "classes": np.array(CLASSES[:count], np.int64),
    }


def discs() -> np.ndarray[Any, Any]:
    """A mask for each box: the disc that fits into it. float32 [D, HEIGHT, WIDTH]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    middles = [((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2) for x0, y0, x1, y1 in BOXES]
    return np.stack([(x - cx) ** 2 + (y - cy) ** 2 < r**2 for cx, cy, r in middles]).astype(np.float32)


def jpeg(orientation: int = 1) -> bytes:
    """A grey photo that is WIDTH x HEIGHT when it is turned upright from this EXIF orientation: 1, or 6 for one that lies on its side."""
    size = (WIDTH, HEIGHT) if orientation == 1 else (HEIGHT, WIDTH)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.new("RGB", size, (128, 128, 128)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def ask(page: Page, server: Server, data: bytes | None = None) -> None:
    """Open the page and ask it about a picture."""
    page.goto(server.url)
    expect(page.locator("#connection")).to_have_text("Live")
    choose(page, data or jpeg(), name="photo.jpg")
    expect(page.get_by_role("button", name="Save picture")).to_be_enabled()  # the browser has read the picture, too


def to_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the picture is on the screen."""
    box = page.locator(".overlay").bounding_box()
    assert box is not None
    scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    left, top = box["x"] + (box["width"] - WIDTH * scale) / 2, box["y"] + (box["height"] - HEIGHT * scale) / 2
    return left + x * scale, top + y * scale


# The colour of the overlay at a pixel of the picture, 0 to 255 with alpha last. The picture is as large as fits into the canvas.
PIXEL = """([x, y, width, height]) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const canvas = document.querySelector('.overlay');
  const scale = Math.min(canvas.width / width, canvas.height / height);
  const left = Math.round((canvas.width - width * scale) / 2), top = Math.round((canvas.height - height * scale) / 2);
  const at = [left + Math.round(x * scale), top + Math.round(y * scale)];
  const copy = new OffscreenCanvas(1, 1).getContext('2d');
  copy.drawImage(canvas, ...at, 1, 1, 0, 0, 1, 1);
  done([...copy.getImageData(0, 0, 1, 1).data]);
})))"""

# A CSS colour as the same four numbers.
COLOUR = """(element) => {
  const context = new OffscreenCanvas(1, 1).getContext('2d');
  context.fillStyle = getComputedStyle(element.querySelector('.swatch')).backgroundColor;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data];
}"""


def pixel(page: Page, x: float, y: float) -> tuple[int, ...]:
    """What the page paints on the picture there, once the next frame is on the screen: red, green, blue, alpha."""
    return tuple(page.evaluate(PIXEL, [x, y, WIDTH, HEIGHT]))


def colour(page: Page, label: str) -> tuple[int, ...]:
    """The colour of a label in the legend."""
    return tuple(page.locator(".legend button").filter(has_text=label).evaluate(COLOUR))


def near(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two colours are the same, but for rounding."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 3
