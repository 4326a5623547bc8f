"""VOC's average precision, where it can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import found
from exportweb.errors import DataError
from exportweb.runtime.evaluate import Evaluation, Pipeline, evaluate, kind_of, open_data

BOXES = found.BOXES  # two circles (scores 0.9, 0.8), a square (0.7) and a star (0.3), found in each picture


def annotate(folder: Path, name: str, objects: Sequence[tuple[str, tuple[int, ...], int]]) -> None:
    """Write a picture and its annotation: pixels count from 1, the last one is inside."""
    for inner in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    (folder / "JPEGImages" / f"{name}.jpg").write_bytes(found.jpeg())
    body = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for label, (x0, y0, x1, y1), difficult in objects
    )
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{body}</annotation>")


def measure(folder: Path, split: str | None = None) -> Evaluation:
    with Pipeline(found.write(folder / "shapes.onnx", "object-detection", found.detections()), device="cpu") as pipeline:
        kind = kind_of(pipeline.predictor)
        return evaluate(pipeline, open_data(folder, kind, pipeline.card, split=split), kind, file="shapes.onnx")


def test_the_area_under_the_curve(tmp_path: Path) -> None:
    """Circles, best first: right, (one that is difficult,) wrong, right: precision 1 up to a recall of 1/2, then 2/3."""
    annotate(tmp_path, "a", [("circle", BOXES[0], 0), ("square", BOXES[2], 0)])
    annotate(tmp_path, "b", [("Circle", BOXES[1], 0), ("Circle", BOXES[0], 1)])
    for path in (tmp_path / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("Circle", "circle"))
    result = measure(tmp_path)
    assert result.classes == {"circle": pytest.approx(0.5 + 0.5 * 2 / 3), "square": pytest.approx(1)}
    assert result.metrics == {"mAP50": pytest.approx((0.5 + 1 / 3 + 1) / 2)}
    assert result.data == f"{tmp_path}, a VOC folder of 2 classes"


def test_half_of_the_area_is_enough_and_each_object_is_found_once(tmp_path: Path) -> None:
    (x0, y0, x1, y1) = BOXES[0]
    half = (x0, y0, x0 + (x1 - x0) // 2, y1)
    annotate(tmp_path, "a", [("circle", half, 0)])
    assert measure(tmp_path).metrics == {"mAP50": 1.0}
    annotate(tmp_path, "a", [("circle", (half[0], half[1], half[2] - 1, half[3]), 0)])
    assert measure(tmp_path).metrics == {"mAP50": 0.0}


def test_a_split(tmp_path: Path) -> None:
    annotate(tmp_path, "a", [("circle", BOXES[0], 0)])
    annotate(tmp_path, "b", [("circle", (0, 0, 5, 5), 0)])
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    assert (measure(tmp_path).images, measure(tmp_path, "val").images, measure(tmp_path, "val").metrics) == (2, 1, {"mAP50": 1.0})
    with pytest.raises(DataError, match=r"There is no split 'test'.* Splits there are: val"):
        measure(tmp_path, "test")


def test_mistakes(tmp_path: Path) -> None:
    annotate(tmp_path, "a", [("disc", BOXES[0], 0)])
    with pytest.raises(DataError, match=r"1 of 1 names in .*Annotations are not among the model's labels: 'disc'"):
        measure(tmp_path)
    annotate(tmp_path, "a", [("circle", BOXES[0], 1)])
    with pytest.raises(DataError, match="or all are marked difficult"):
        measure(tmp_path)
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation><object><name>circle</name></object></annotation>")
    with pytest.raises(DataError, match=r"a.xml has an object whose bndbox should have the numbers xmin, ymin, xmax, ymax"):
        measure(tmp_path)
    (tmp_path / "Annotations" / "a.xml").write_text("no XML")
    with pytest.raises(DataError, match=r"a.xml can't be read"):
        measure(tmp_path)
    annotate(tmp_path, "a", [])
    with pytest.raises(DataError, match="there is none in 1 files"):
        measure(tmp_path)
