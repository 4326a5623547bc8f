"""YOLO from Ultralytics: its files are recognised, and answered as its own `predict` answers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cells
import dots
from exportweb.card import Output
from exportweb.errors import CardError
from exportweb.runtime import Predictor, card_for_onnx

# 128 x 64 pixels in a letterbox of 64 x 64: half as large, 16 rows lower. The block fills the cell at column 2, row 3.
BLOCK = dots.picture({(x, y): (255, 0, 0) for x in range(32, 48) for y in range(16, 32)}, (128, 64))
BOX = {"xmin": 32, "ymin": 16, "xmax": 48, "ymax": 32}


def load(path: Path, **options: Any) -> Predictor:
    return Predictor.load(path, device="cpu", threads=1, card=card_for_onnx(path, **options))


def test_a_file_says_itself_what_it_is(tmp_path: Path) -> None:
    card = card_for_onnx(cells.write(tmp_path))
    assert (card.task, card.labels) == ("object-detection", ("red", "green", "it's blue"))
    assert card.outputs == (Output(name="output0", role="yolo"),)
    assert card.source.framework == "ultralytics"
    assert card.input is not None
    assert (card.input.height, card.input.resize, card.input.fill, card.input.interpolation) == (64, "contain", (114,) * 3, "linear")


@pytest.mark.parametrize("suppressed", [False, True])
def test_boxes_come_back_to_the_picture(tmp_path: Path, suppressed: bool) -> None:
    predictor = load(cells.write(tmp_path, suppressed=suppressed))
    assert predictor.task.__class__.__name__ == "ObjectDetection"
    assert predictor.predict(BLOCK) == [{"label": "red", "score": pytest.approx(1, abs=0.02), "box": BOX}]


def test_a_file_without_metadata_needs_labels_or_calls_them_by_number(tmp_path: Path) -> None:
    path = cells.write(tmp_path, metadata=None)
    with pytest.raises(CardError, match=r"no task was given.*a YOLO of Ultralytics: --task object-detection or"):
        card_for_onnx(path)
    assert load(path, task="object-detection").predict(BLOCK)[0]["label"] == "class_0"
    assert load(path, task="object-detection", labels=["a", "b", "c"]).predict(BLOCK)[0]["label"] == "a"
    with pytest.raises(CardError, match="has 3 classes, but 2 labels were given"):
        card_for_onnx(path, task="object-detection", labels=["a", "b"])


def test_masks_from_prototypes(tmp_path: Path) -> None:
    """Positive in the upper half of the letterbox, so in the upper half of the picture; cut to the box."""
    for suppressed in (False, True):
        predictor = load(cells.write(tmp_path, more=32, suppressed=suppressed, metadata={**cells.METADATA, "task": "segment"}))
        assert predictor.card.outputs[1] == Output(name="output1", role="prototypes")
        (annotation,) = predictor.predict(BLOCK, format="coco")["annotations"]
        assert annotation["area"] == 16 * 16
        lower = dots.picture({(x, y): (0, 255, 0) for x in range(32, 48) for y in range(32, 48)}, (128, 64))
        (annotation,) = predictor.predict(lower, format="coco")["annotations"]
        assert annotation["area"] == 0


def test_points_behind_the_scores(tmp_path: Path) -> None:
    """Two points: at 1, 2 and at 4, 5 of the letterbox, with scores 3 and 6."""
    metadata = {**cells.METADATA, "task": "pose", "kpt_shape": "[2, 3]"}
    for suppressed in (False, True):
        predictor = load(cells.write(tmp_path, more=6, suppressed=suppressed, metadata=metadata))
        (found,) = predictor.predict(BLOCK)
        assert found["keypoints"] == [
            {"label": "point_0", "x": 2, "y": -28, "score": 3},
            {"label": "point_1", "x": 8, "y": -22, "score": 6},
        ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"task": "instance-segmentation", "metadata": cells.METADATA},
            r"should answer as Ultralytics' YOLO does, .* it has 'output0' \(float32 \[1, 7, 64\]\)",
        ),
        ({"metadata": {**cells.METADATA, "task": "pose", "kpt_shape": "[17, 2]"}}, "points of 2 numbers"),
        ({"metadata": {**cells.METADATA, "task": "obb"}}, "no task was given"),
        ({"metadata": None, "more": 32, "task": "instance-segmentation"}, "how many classes it has; give their names: --labels data.yaml"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    task = options.pop("task", None)
    with pytest.raises(CardError, match=says):
        card_for_onnx(cells.write(tmp_path, **options), task=task)


def test_yolov5s_own_files_are_told_apart(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    import tensors

    nodes = [helper.make_node("Reshape", ["images", "shape"], ["output"])]
    inputs, outputs = [("images", TensorProto.FLOAT, [1, 3, 8, 8])], [("output", TensorProto.FLOAT, [1, 24, 8])]
    path = tmp_path / "v5.onnx"
    path.write_bytes(tensors.model(nodes, inputs, outputs, {"shape": np.array([1, 24, 8])}))
    with pytest.raises(CardError, match="YOLOv5's own files answer so"):
        card_for_onnx(path, task="object-detection")


# -- against Ultralytics itself, where it is installed


@pytest.mark.parametrize(("config", "options"), [("yolov8n", {}), ("yolo11n", {}), ("yolov5n", {}), ("yolov8n", {"nms": True})])
def test_boxes_are_ultralytics_own(tmp_path: Path, config: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file, the same picture, in Ultralytics' predictor and here: the same boxes, within what OpenCV's rounding moves them."""
    ultralytics = pytest.importorskip("ultralytics")
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = ultralytics.YOLO(f"{config}.yaml")
    for module in model.model.modules():  # untrained models say the same of every place
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    for branch in model.model.model[-1].cv3:
        torch.nn.init.normal_(branch[-1].weight, std=0.5)
        torch.nn.init.normal_(branch[-1].bias, mean=-4.0)
    model.model.train()(torch.rand(2, 3, 320, 320))
    model.model.eval()
    path = Path(model.export(format="onnx", imgsz=320, simplify=False, verbose=False, conf=0.3, iou=0.7, **options))
    image = Image.effect_noise((500, 375), 90).resize((40, 30)).resize((500, 375), Image.Resampling.BICUBIC).convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG")

    bgr = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
    (result,) = ultralytics.YOLO(path, task="detect").predict(bgr, imgsz=320, conf=0.3, iou=0.7, rect=False, verbose=False)
    found = load(path).predict(file.getvalue(), threshold=0.3)

    expected = {
        "boxes": result.boxes.xyxy.numpy(),
        "scores": result.boxes.conf.numpy(),
        "classes": result.boxes.cls.numpy().astype(int),
    }
    names = {name: index for index, name in result.names.items()}
    got = {
        "boxes": np.array([list(one["box"].values()) for one in found], np.float32),
        "scores": np.array([one["score"] for one in found], np.float32),
        "classes": np.array([names[one["label"]] for one in found]),
    }
    from exportweb.runtime import matching

    assert len(expected["scores"]) > 20
    assert matching.difference(expected, got, tolerance=1e-2) is None
