from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2")

from detectors import picture
from detectron2s import build, by_role, config, lazy, mask, predicted, served_by_role, stir
from exportweb.errors import ExportError
from exportweb.exporters import detectron2_models
from exportweb.exporters.detectron2_config import configure
from exportweb.exporters.exporter import Exporter
from exportweb.exporters.frameworks import Hints, describe
from exportweb.runtime import Predictor, matching

MASK = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
SIZES = ((100, 130), (57, 200), (333, 250))  # none of them traced; detectron2 resizes each of them

OBJECTS = {
    MASK: "instance-segmentation",
    "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml": "object-detection",
    "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml": "object-detection",
    "COCO-Detection/retinanet_R_50_FPN_1x.yaml": "object-detection",
    "COCO-Detection/rpn_R_50_FPN_1x.yaml": "object-detection",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml": "keypoint-detection",
    "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml": "instance-segmentation",
}


def publish(cfg, path, model=None):
    """Export a model, give it other weights, publish these; return the model and what serves it."""
    model = model or build(cfg)
    configure(model, cfg)
    exporter = Exporter(model)
    stir(model, seed=5)
    assert exporter.graph.whole is None  # they are put in by name, which was proved
    with path.open("wb") as file:
        exporter.write(file)
    return model, Predictor.load(path, device="cpu", threads=1)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_served_as_detectron2_finds_them(tmp_path, name):
    cfg = config(name)
    model, served = publish(cfg, tmp_path / "version.onnx")
    assert served.card.task == OBJECTS[name]
    for size in SIZES:
        image = picture(*size)[0]
        expected = by_role(predicted(cfg, model, image))
        got = served_by_role(served.predict(png(image), threshold=0.0), served.card)
        assert len(expected["scores"]) > 5
        assert matching.difference(expected, got, tolerance=1e-3) is None


def test_a_model_of_a_lazy_config_too(tmp_path):
    cfg, fcos = lazy("COCO-Detection/fcos_R_50_FPN_1x.py")
    model, served = publish(cfg, tmp_path / "version.onnx", fcos)
    assert (served.card.task, served.card.labels[0], served.card.input.color) == ("object-detection", "person", "BGR")
    image = picture(100, 130)[0]
    expected = by_role(predicted(config("COCO-Detection/retinanet_R_50_FPN_1x.yaml"), model, image))  # of the same size
    assert len(expected["scores"]) > 5
    got = served_by_role(served.predict(png(image), threshold=0.0), served.card)
    assert matching.difference(expected, got, tolerance=1e-3) is None


class Bessel(torch.nn.Module):
    """What ONNX has no operator for."""

    def forward(self, x):
        return x + torch.special.bessel_j1(x)


def test_what_has_no_onnx_becomes_torchscript_that_runs_without_detectron2(tmp_path):
    cfg = config(MASK)
    model = build(cfg)
    model.roi_heads.box_head.fc_relu2 = Bessel()
    configure(model, cfg)
    exporter = Exporter(model)
    assert exporter.graph.whole is None and exporter.graph.template.missing == set()
    stir(model, seed=5)
    path = tmp_path / "version.torchscript"
    with path.open("wb") as file:
        card = exporter.write(file)
    assert "bessel_j1" in card.fallback
    answers = tmp_path / "answers.json"
    image = picture(100, 130)[0]
    (tmp_path / "image.png").write_bytes(png(image))
    code = (
        "import json, sys; from pathlib import Path; from exportweb.runtime import Predictor, verify\n"
        f"folder = Path({str(tmp_path)!r}); served = Predictor.load(folder / 'version.torchscript', device='cpu', trust_torchscript=True)\n"
        "verify.golden(served)\n"
        "answer = served.predict((folder / 'image.png').read_bytes(), threshold=0.0)\n"
        "(folder / 'answers.json').write_text(json.dumps(answer)); assert 'detectron2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    expected = by_role(predicted(cfg, model, image))
    got = served_by_role(json.loads(answers.read_text()), card)
    assert len(expected["scores"]) > 5
    assert matching.difference(expected, got, tolerance=1e-3) is None


def test_pixels_are_served_the_classes_that_detectron2_gives_them(tmp_path):
    cfg = config("Misc/semantic_R_50_FPN_1x.yaml")
    model, served = publish(cfg, tmp_path / "version.onnx")
    for size in SIZES:
        image = picture(*size)[0]
        want = predicted(cfg, model, image)["sem_seg"].argmax(dim=0).numpy()
        got = np.full(size, -1)
        for one in served.predict(png(image)):
            got[mask(one)] = served.card.labels.index(one["label"])
        assert (got != want).mean() < 1e-3 and len(np.unique(want)) > 2


def test_segments_are_served_as_detectron2_combines_them(tmp_path):
    cfg = config("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml")
    model, served = publish(cfg, tmp_path / "version.onnx")
    for size in SIZES:
        image = picture(*size)[0]
        segments, about = predicted(cfg, model, image)["panoptic_seg"]
        got = served.predict(png(image), threshold=0.5)
        assert len(got) == len(about) > 1
        for one, segment in zip(got, about, strict=True):
            names = served.card.labels if segment["isthing"] else served.card.stuff
            assert one["label"] == names[segment["category_id"]]
            assert (mask(one) != (segments == segment["id"]).numpy()).mean() < 1e-3


def test_the_card_says_what_the_configuration_does(tmp_path):
    from detectron2.data import MetadataCatalog

    MetadataCatalog.get("exportweb_shapes").set(thing_classes=["circle", "square", "star"])
    try:
        cfg = config(MASK, "DATASETS.TRAIN", ("exportweb_shapes",), "INPUT.FORMAT", "RGB", "INPUT.MAX_SIZE_TEST", 120)
        _, served = publish(cfg, tmp_path / "version.onnx")
    finally:
        MetadataCatalog.remove("exportweb_shapes")
    card = served.card
    assert card.labels == ("circle", "square", "star")
    assert (card.input.color, card.input.resize, card.input.resize_height, card.input.resize_max) == ("RGB", "bounded", 96, 120)
    assert card.source.packages["detectron2"]
    assert [output.paste for output in card.outputs if output.role == "masks"] == ["continuous"]
    assert len(card.encode()) < 40_000


def test_without_a_configuration_it_is_detectron2s_default():
    about = describe(build(config(MASK)), Hints())
    assert (about.input.color, about.input.resize_height, about.input.resize_max, about.labels) == ("BGR", 800, 1333, None)
    assert about.input.mean == pytest.approx((103.53 / 255, 116.28 / 255, 123.675 / 255))


def test_keypoints_have_the_names_of_cocos_person_where_there_are_as_many():
    assert describe(build(config("COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml")), Hints()).card["keypoints"][0] == "keypoint_0"
    person = config("COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml", "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 17)
    assert describe(build(person), Hints()).card["keypoints"][:2] == ("nose", "left_eye")


def test_exporting_leaves_the_model_as_it_was():
    model = build(config(MASK)).train()
    before, numbers = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    kinds, modes = [type(module) for module in model.modules()], [module.training for module in model.modules()]
    Exporter(model)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert [type(module) for module in model.modules()] == kinds and [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert isinstance(model.roi_heads.box_predictor.test_score_thresh, float)


def test_a_mistake_says_what_would_do():
    model = build(config("COCO-Detection/rpn_R_50_FPN_1x.yaml"))
    assert detectron2_models.recognises(model) and not detectron2_models.recognises(model.backbone)
    with pytest.raises(ExportError, match="leave example, mean and std out"):
        describe(model, Hints(mean=(0.5, 0.5, 0.5)))
    with pytest.raises(ExportError, match=r"configuration of detectron2's, as get_cfg.*got dict"):
        configure(model, {})
    model = build(config(MASK))
    model.proposal_generator = None  # as of Fast R-CNN
    with pytest.raises(ExportError, match="takes boxes with each image"):
        describe(model, Hints())
