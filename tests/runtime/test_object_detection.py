from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dots
from exportweb.card import Output
from exportweb.errors import BadParameter, CardError, ExportwebError
from exportweb.runtime import Predictor
from exportweb.runtime.reader import Prepared
from exportweb.runtime.tasks.object_detection import ObjectDetection

PICTURE = dots.picture(dots.THREE)
RED = {"label": "red", "score": 1.0, "box": {"xmin": 17, "ymin": 9, "xmax": 18, "ymax": 10}}
GREEN = {"label": "green", "score": pytest.approx(0.8), "box": {"xmin": 3, "ymin": 2, "xmax": 4, "ymax": 3}}
BLUE = {"label": "blue", "score": pytest.approx(0.2), "box": {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return dots.predictor(tmp_path_factory.mktemp("dots"), dots.card("object-detection"))


def test_objects_best_first(predictor: Predictor) -> None:
    assert predictor.predict(PICTURE) == [RED, GREEN]
    assert predictor.max_batch == 1


def test_as_many_and_as_sure_as_asked_for(predictor: Predictor) -> None:
    assert predictor.predict(PICTURE, threshold=0) == [RED, GREEN, BLUE]
    assert predictor.predict(PICTURE, threshold="0.9") == [RED]
    assert predictor.predict(PICTURE, threshold=0, top_k=2) == [RED, GREEN]
    assert predictor.predict(PICTURE, threshold=1) == []
    assert predictor.predict(dots.picture({})) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"threshold": "1.5"}, r"threshold=1\\.5 is not possible; it is a number from 0 to 1"),
        ({"threshold": "nan"}, "threshold=nan"),
        ({"threshold": "high"}, "threshold=high"),
        ({"top_k": "0"}, "top_k=0 is not possible; it is a whole number from 1 on"),
        ({"format": "xml"}, "format=xml is not possible; it is json, coco, yolo or voc"),
        ({"masks": "rle"}, "Unknown parameter 'masks'; object detection knows 'threshold', 'top_k', 'format'"),
    ],
)
def test_what_can_not_be_asked(predictor: Predictor, given: dict[str, str], says: str) -> None:
    with pytest.raises(BadParameter, match=says.replace("\\\\", "\\")):
        predictor.predict(PICTURE, **given)


def test_boxes_come_back_through_resize_and_padding(tmp_path: Path) -> None:
    """A picture of 40 x 20 in a letterbox of 20 x 20: each of its pixels is half as large there, and 5 rows lower."""
    input = dots.card("object-detection").input
    assert input is not None
    import msgspec

    letterbox = msgspec.structs.replace(
        input, height=20, width=20, resize="contain", resize_height=20, resize_width=20, interpolation="nearest"
    )
    predictor = dots.predictor(tmp_path, dots.card("object-detection", input=letterbox))
    block = {(x, y): (255, 0, 0) for x in (10, 11) for y in (6, 7)}
    (found,) = predictor.predict(dots.picture(block, (40, 20)))
    assert found["box"] == {"xmin": 10, "ymin": 6, "xmax": 12, "ymax": 8}


def detect(outputs: dict[str, Any], size: tuple[int, int] = (100, 80), **given: object) -> Any:
    """Answer for outputs as a graph of any size gave them, by their roles."""
    card = dots.card("object-detection", outputs=tuple(Output(name=role, role=role) for role in outputs))
    task = ObjectDetection(card, {})
    return task.answer(outputs, task.params(given), Prepared({}, {}, size))


def test_boxes_are_cut_to_the_picture_and_empty_ones_left_out() -> None:
    boxes = np.array([[-5, 10, 50, 90], [100, 10, 120, 20], [7, 7, 7, 9]], np.float32)
    (found,) = detect({"boxes": boxes, "scores": np.full(3, 0.9, np.float32), "classes": np.array([1, 1, 1])})
    assert found["box"] == {"xmin": 0, "ymin": 10, "xmax": 50, "ymax": 80}


def test_detections_of_six_numbers_without_their_padding() -> None:
    rows = np.array([[1, 2, 30, 40, 0.75, 2], [0, 0, 0, 0, 0, 0]], np.float32)
    assert detect({"detections": rows}, threshold=0) == [
        {"label": "blue", "score": 0.75, "box": {"xmin": 1, "ymin": 2, "xmax": 30, "ymax": 40}}
    ]


def test_one_class_needs_no_classes() -> None:
    (found,) = detect({"boxes": np.array([[1, 2, 3, 4]], np.float32), "scores": np.array([0.9], np.float32)})
    assert found["label"] == "red"


def test_a_class_without_a_name() -> None:
    (found,) = detect({"boxes": np.array([[1, 2, 3, 4]], np.float32), "scores": np.array([0.9], np.float32), "classes": np.array([7])})
    assert found["label"] == "class_7"


def test_yolos_boxes_do_not_overlap_in_a_class() -> None:
    """[4 + C, A]: two of one class nearly in one place, a third of another class there."""
    head = np.array([[50, 51, 50], [40, 40, 40], [20, 20, 20], [10, 10, 10], [0.9, 0.8, 0.1], [0.1, 0.1, 0.7], [0, 0, 0]], np.float32)
    first, second = detect({"yolo": head})
    assert first == {"label": "red", "score": pytest.approx(0.9), "box": {"xmin": 40, "ymin": 35, "xmax": 60, "ymax": 45}}
    assert second["label"] == "green"


def test_numbers_that_are_none() -> None:
    for boxes, score in ((np.nan, 0.9), (1.0, np.nan)):
        with pytest.raises(ExportwebError, match="not finite"):
            detect({"boxes": np.full((1, 4), boxes, np.float32), "scores": np.array([score], np.float32)})


def test_a_card_without_boxes() -> None:
    with pytest.raises(CardError, match="'boxes' and 'scores', or 'detections', or 'yolo'; the card has masks"):
        ObjectDetection(dots.card("object-detection", outputs=(Output(name="m", role="masks"),)), {})
