"""Mean IoU of pictures whose pixels are painted in the colours of their classes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dots
from exportweb.errors import DataError
from exportweb.runtime.evaluate import Evaluation, Pipeline, evaluate, kind_of, open_data
from versions import pack

WIDTH, HEIGHT = 20, 10


def write(folder: Path, images: str, maps: str, name: str, found: np.ndarray, there: np.ndarray) -> None:
    """A picture in which the model finds these classes, and the map that says what is there."""
    for path in (folder / images / name, folder / maps / name):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.eye(3, dtype=np.uint8) * 200)[found]).save(folder / images / f"{name}.png")
    image = Image.fromarray(there.astype(np.uint8))
    image.putpalette(bytes(768))  # as VOC's have one
    image.save(folder / maps / f"{name}.png")


def measure(folder: Path, split: str | None = None) -> Evaluation:
    path = folder / "dots.onnx"
    path.write_bytes(pack(dots.graph(), dots.card("semantic-segmentation", "semantic")))
    with Pipeline(path, device="cpu") as pipeline:
        kind = kind_of(pipeline.predictor)
        return evaluate(pipeline, open_data(folder, kind, pipeline.card, split=split), kind, file="dots.onnx")


def test_the_figures_are_scikit_learns(tmp_path: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    pairs = []
    for i in range(5):
        found = random.integers(0, 3, (HEIGHT, WIDTH))
        there = np.where(random.random((HEIGHT, WIDTH)) < 0.7, found, random.integers(0, 3, (HEIGHT, WIDTH)))
        there[random.random((HEIGHT, WIDTH)) < 0.1] = 255
        write(tmp_path, "images", "masks", f"val/{i}", found, there)
        pairs.append((there[there != 255], found[there != 255]))
    (tmp_path / "images" / "val" / "no map.png").write_bytes(b"")
    there, found = map(np.concatenate, zip(*pairs, strict=True))
    result = measure(tmp_path)
    assert result.images == 5
    assert result.metrics == {
        "mIoU": pytest.approx(metrics.jaccard_score(there, found, average="macro")),
        "pixel_accuracy": pytest.approx(metrics.accuracy_score(there, found)),
    }
    each = metrics.jaccard_score(there, found, average=None)
    assert result.classes == {name: pytest.approx(value) for name, value in zip(dots.COLOURS, each, strict=True)}


def test_voc_with_a_split(tmp_path: Path) -> None:
    left = np.indices((HEIGHT, WIDTH))[1] // (WIDTH // 2)
    write(tmp_path, "JPEGImages", "SegmentationClass", "a", left, left)
    write(tmp_path, "JPEGImages", "SegmentationClass", "b", left, 1 - left)
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("a\n")
    assert measure(tmp_path).metrics == {"mIoU": pytest.approx(1 / 3), "pixel_accuracy": 0.5}
    assert measure(tmp_path, "val").metrics == {"mIoU": 1.0, "pixel_accuracy": 1.0}
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("c\n")
    with pytest.raises(DataError, match="c of the split is not among them"):
        measure(tmp_path, "val")


def test_maps_that_can_not_be_used_are_named(tmp_path: Path) -> None:
    classes = np.zeros((HEIGHT, WIDTH), int)
    for name in ("a", "b", "c", "d"):
        write(tmp_path, "images", "labels", name, classes, classes)
    write(tmp_path, "images", "labels", "e", classes, classes + 3)
    (tmp_path / "labels" / "a.png").write_bytes(b"")
    Image.new("L", (3, 3)).save(tmp_path / "labels" / "b.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "labels" / "c.png")
    result = measure(tmp_path)
    assert (result.images, result.metrics["mIoU"]) == (1, 1.0)
    says = [
        "can't be read",
        "3 x 3 pixels; it has 20 x 10",
        "is RGB; it should",
        "has a class 3; the values of maps",
    ]
    for one, text in zip(result.unreadable, says, strict=True):
        assert text in one.error


def test_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="should hold two folders"):
        measure(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    out = io.BytesIO()
    Image.new("L", (3, 3)).save(out, "PNG")
    (tmp_path / "masks" / "a.png").write_bytes(out.getvalue())
    with pytest.raises(DataError, match=r"0 pictures in images and 1 maps .* no two files have the same name"):
        measure(tmp_path)
