"""detectron2's models behind a server: what it answers over HTTP is what `DefaultPredictor` does, for each task that they have."""

from __future__ import annotations

import io

import pytest
from PIL import Image

pytest.importorskip("detectron2")

from detectors import picture
from detectron2s import build, by_role, config, distances, predicted, served_by_role, stir
from exportweb.exporters.detectron2_config import configure
from exportweb.exporters.exporter import Exporter
from serving import Server

MODELS = {
    "object-detection": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "instance-segmentation": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "keypoint-detection": "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml",
    "semantic-segmentation": "Misc/semantic_R_50_FPN_1x.yaml",
    "panoptic-segmentation": "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
}
OBJECTS = "object-detection", "instance-segmentation", "keypoint-detection"
SIZES = (100, 130), (57, 200), (333, 250)  # none of them traced


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server of one model for each task, and by task what detectron2 has: a configuration and the model; and the card."""
    folder, models = tmp_path_factory.mktemp("detectron2"), {}
    for task, name in MODELS.items():
        cfg = config(name)
        model = build(cfg)
        configure(model, cfg)
        exporter = Exporter(model)
        stir(model, seed=5)
        with (folder / f"{task}.onnx").open("wb") as file:
            models[task] = cfg, model, exporter.write(file)
    with Server(*(f"{task}={folder / task}.onnx" for task in models), log=folder / "log") as server:
        yield server.http, models


@pytest.mark.parametrize("task", MODELS)
def test_answers_over_http_are_those_of_default_predictor(served, task):
    http, models = served
    cfg, model, card = models[task]
    assert card.task == task
    for size in SIZES:
        image = picture(*size)[0]
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        query = "?threshold=0" if task in OBJECTS else ""  # the model has a threshold of its own
        answer = http.post(f"/models/{task}/predict{query}", content=file.getvalue())
        assert answer.status_code == 200, answer.text
        expected = by_role(predicted(cfg, model, image))
        assert len(answer.json()) > 1
        off = distances(expected, served_by_role(answer.json(), card))
        assert max(off.values()) <= 1e-3, off
