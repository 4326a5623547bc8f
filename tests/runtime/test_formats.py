"""Answers as datasets are annotated, read by the libraries that read those."""

from __future__ import annotations

import contextlib
import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from exportweb.runtime.formats import coco, voc, yolo
from exportweb.runtime.found import Found, Point
from exportweb.runtime.masks import Mask

SIZE = (200, 100)
CAT = Found(0, "cat", 0.75, (10.25, 20, 60.25, 70), Mask(np.ones((50, 40), bool), 12, 20, SIZE))
DOG = Found(1, "dog & co", 0.5, (150, 40.4, 200, 100), points=(Point("nose", 160, 50, 0.9), Point("tail", 210, -3, 0.1)))


def test_coco_is_a_dataset_of_one_image() -> None:
    dataset = coco([CAT, DOG], SIZE, ["cat", "dog & co", "bird"], [])
    assert dataset["images"] == [{"id": 1, "file_name": "image", "width": 200, "height": 100}]
    assert [(category["id"], category["name"]) for category in dataset["categories"]] == [(1, "cat"), (2, "dog & co"), (3, "bird")]
    cat, dog = dataset["annotations"]
    assert (cat["bbox"], cat["area"], cat["score"], cat["category_id"]) == ([10.25, 20, 50, 50], 2000, 0.75, 1)
    assert (dog["keypoints"], dog["num_keypoints"]) == ([160, 50, 2, 210, -3, 2], 2)


def test_coco_as_pycocotools_reads_it() -> None:
    pycocotools = pytest.importorskip("pycocotools.coco")
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = pycocotools.COCO()
        dataset.dataset = coco([CAT], SIZE, ["cat"], [])
        dataset.createIndex()
        (annotation,) = dataset.loadAnns(dataset.getAnnIds(catIds=[1]))
    assert CAT.mask is not None
    assert np.array_equal(dataset.annToMask(annotation), CAT.mask.whole())


def test_yolo_is_a_line_for_each_object_in_shares_of_the_picture() -> None:
    assert yolo([CAT._replace(mask=None), DOG], SIZE).splitlines() == [
        "0 0.176250 0.450000 0.250000 0.500000",
        "1 0.875000 0.702000 0.250000 0.596000 0.800000 0.500000 2 1.000000 0.000000 2",
    ]
    assert yolo([], SIZE) == ""


def test_yolos_masks_are_their_outlines() -> None:
    """Of 12..52 x 20..70; an object whose mask has no pixels is its box."""
    assert yolo([CAT], SIZE) == "0 0.060000 0.200000 0.260000 0.200000 0.260000 0.700000 0.060000 0.700000\n"
    empty = CAT._replace(mask=Mask(np.zeros((5, 4), bool), 12, 20, SIZE))
    assert yolo([empty], SIZE) == "0 0.176250 0.450000 0.250000 0.500000\n"


def test_voc_counts_pixels_from_one() -> None:
    root = ET.fromstring(voc([CAT, DOG], SIZE))
    assert [root.findtext(f"size/{name}") for name in ("width", "height", "depth")] == ["200", "100", "3"]
    cat, dog = root.findall("object")
    assert dog.findtext("name") == "dog & co"
    assert [cat.findtext(f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")] == ["11", "21", "60", "70"]
    assert [dog.findtext(f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")] == ["151", "41", "200", "100"]
    tiny = ET.fromstring(voc([CAT._replace(box=(199.8, 0, 200, 0.1))], SIZE))
    assert [tiny.findtext(f"object/bndbox/{name}") for name in ("xmin", "xmax", "ymin", "ymax")] == ["200", "200", "1", "1"]
