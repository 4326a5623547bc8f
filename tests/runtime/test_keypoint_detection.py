from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dots
from exportweb.card import ImageInput, Output
from exportweb.errors import CardError
from exportweb.runtime.reader import Prepared
from exportweb.runtime.tasks.keypoint_detection import KeypointDetection


def test_each_object_has_its_points(tmp_path: Path) -> None:
    predictor = dots.predictor(tmp_path, dots.card("keypoint-detection", "keypoints", keypoints=("corner",)))
    red, green = predictor.predict(dots.picture(dots.THREE))
    assert red["keypoints"] == [{"label": "corner", "x": 17, "y": 9, "score": 1}]
    assert (green["label"], green["keypoints"][0]["score"]) == ("green", pytest.approx(0.8))
    coco = predictor.predict(dots.picture(dots.THREE), format="coco")
    assert coco["annotations"][0]["keypoints"] == [17, 9, 2]
    assert coco["categories"][0]["keypoints"] == ["corner"]


def test_heatmaps_are_decoded_in_the_graphs_pixels_and_then_scaled() -> None:
    """As detectron2 does: the box that the heatmap fills is that of the resized picture, here half as large as the picture."""
    outputs = tuple(Output(name=role, role=role) for role in ("boxes", "scores", "keypoint-heatmaps"))
    input = ImageInput(height=0, width=0, resize="bounded", resize_height=50, resize_width=50, mean=(0.0,) * 3, std=(1.0,) * 3)
    task = KeypointDetection(dots.card("keypoint-detection", outputs=outputs, input=input), {})
    heatmaps = np.zeros((1, 2, 10, 10), np.float32)
    heatmaps[0, 0, 2, 3] = heatmaps[0, 1, 9, 9] = 60
    row = {"boxes": np.array([[10, 20, 20, 30]], np.float32), "scores": np.ones(1, np.float32), "keypoint-heatmaps": heatmaps}
    (found,) = task.answer(row, task.params({}), Prepared({}, {}, (200, 100)))
    assert found["box"] == {"xmin": 20, "ymin": 40, "xmax": 40, "ymax": 60}
    assert [(point["label"], point["x"], point["y"]) for point in found["keypoints"]] == [("point_0", 27, 45), ("point_1", 39, 59)]


def test_a_card_without_points() -> None:
    with pytest.raises(CardError, match="'keypoints' or 'keypoint-heatmaps'"):
        KeypointDetection(dots.card("keypoint-detection"), {})
