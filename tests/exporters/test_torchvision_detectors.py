from __future__ import annotations

import numpy as np
import pytest
import torch

torchvision = pytest.importorskip("torchvision")

from torchvision.models import detection
from torchvision.models.detection.roi_heads import paste_masks_in_image

from detectors import fcos, keypoint_rcnn, mask_rcnn, picture, retinanet, ssd, ssdlite, stir
from exportweb.errors import ExportError
from exportweb.exporters import torchvision_detectors
from exportweb.exporters.exporter import Exporter
from exportweb.exporters.frameworks import Hints, describe
from exportweb.exporters.golden import disagreement
from exportweb.runtime.session import OnnxSession

SIZES = ((64, 64), (100, 130), (57, 200), (141, 60))  # none of them traced


def write(exporter, path):
    """Publish the model as it is now; return its session and card."""
    with path.open("wb") as file:
        card = exporter.write(file)
    return OnnxSession(path, device="cpu"), card


@torch.no_grad()
def itself(model, image):
    """What a model of torchvision's answers itself."""
    (found,) = model.eval()([torch.from_numpy(image[0]).permute(2, 0, 1) / 255])
    return found


def as_roles(found, *, first):
    return {"boxes": found["boxes"].numpy(), "scores": found["scores"].numpy(), "classes": found["labels"].numpy() - first}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A Mask R-CNN, exported before its weights changed, with the version that was published afterwards."""
    model = mask_rcnn(threshold=0.0)
    exporter = Exporter(model, labels=["circle", "square", "star"])
    stir(model)
    return (model, exporter, *write(exporter, tmp_path_factory.mktemp("detector") / "version.onnx"))


def test_new_weights_are_put_into_the_known_graph_by_name(trained):
    model, exporter, _, _ = trained
    assert exporter.graph.whole is None
    assert all(name.endswith("num_batches_tracked") for name in exporter.graph.template.missing)  # which evaluation has no use for
    floating = {name for name, value in model.state_dict().items() if value.is_floating_point()}
    assert {slot.name for slot in exporter.graph.template.slots} >= floating


@pytest.mark.parametrize("size", SIZES)
def test_images_of_any_size_are_answered_as_the_model_itself_does(trained, size):
    model, _, session, _ = trained
    image = picture(*size)
    got, found = session.run({"image": image}), itself(model, image)
    expected = as_roles(found, first=1)
    masks = paste_masks_in_image(torch.from_numpy(got.pop("masks"))[:, None], torch.from_numpy(got["boxes"]), size)
    assert len(expected["scores"]) > 15
    assert disagreement({**got, "image-masks": masks[:, 0].numpy()}, {**expected, "image-masks": found["masks"][:, 0].numpy()}) is None


def test_the_card_says_what_the_graph_takes_and_answers(trained):
    _, _, session, card = trained
    assert (card.task, card.labels) == ("instance-segmentation", ("circle", "square", "star"))
    assert (card.input.height, card.input.resize) == (0, "none")
    assert [(output.name, output.role) for output in card.outputs] == [(name, name) for name in ("boxes", "scores", "classes", "masks")]
    assert card.outputs[3].paste == "integer"
    assert [(port.dtype, len(port.shape)) for port in session.outputs] == [("float32", 2), ("float32", 1), ("int64", 1), ("float32", 3)]
    assert len(card.encode()) < 40_000


def test_an_image_without_objects_has_an_answer_without_any(tmp_path):
    model = mask_rcnn(threshold=0.99)  # nothing is found while it is traced, either
    exporter = Exporter(model)
    assert exporter.graph.whole is None
    session, card = write(exporter, tmp_path / "none.onnx")
    assert {name: array.shape for name, array in session.run({"image": picture(64, 80)}).items()} == {
        "boxes": (0, 4),
        "scores": (0,),
        "classes": (0,),
        "masks": (0, 8, 8),
    }
    assert card.golden.outputs["boxes"].shape == (0, 4)
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.bias[2] += 20.0  # from now on everything is of class 1
    session, _ = write(exporter, tmp_path / "all.onnx")
    found = session.run({"image": picture(64, 80)})
    assert len(found["scores"]) and set(found["classes"]) == {1}


@pytest.mark.parametrize(("make", "first"), [(keypoint_rcnn, 1), (retinanet, 0), (fcos, 0), (ssd, 1), (ssdlite, 1)])
def test_other_detectors_too(tmp_path, make, first):
    model = make()
    exporter = Exporter(model)
    assert exporter.graph.whole is None
    stir(model)
    session, card = write(exporter, tmp_path / "m.onnx")
    for size in SIZES:
        image = picture(*size)
        got, found = session.run({"image": image}), itself(model, image)
        expected = as_roles(found, first=first)
        if "keypoints" in found:
            expected["keypoints"] = np.concatenate([found["keypoints"][..., :2], found["keypoints_scores"][..., None]], axis=2)
        assert len(expected["scores"]) >= 5
        assert disagreement(got, expected) is None
    assert card.task == ("keypoint-detection" if make is keypoint_rcnn else "object-detection")


def test_exporting_leaves_the_model_as_it_was():
    model = mask_rcnn()
    model.train()
    model.backbone[1].eval()  # as a frozen normalisation is
    before, numbers = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    kinds, transform = [type(m) for m in model.modules()], dict(vars(model.transform))
    Exporter(model)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert [m.training for m in model.modules()] == modes and [type(m) for m in model.modules()] == kinds
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert vars(model.transform).keys() == transform.keys() and isinstance(model.roi_heads.score_thresh, float)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "task", "classes"),
    [
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "object-detection", 90),
        ("maskrcnn_resnet50_fpn_v2", "instance-segmentation", 90),
        ("keypointrcnn_resnet50_fpn", "keypoint-detection", 1),
        ("retinanet_resnet50_fpn", "object-detection", 91),
        ("fcos_resnet50_fpn", "object-detection", 91),
        ("ssd300_vgg16", "object-detection", 90),
        ("ssdlite320_mobilenet_v3_large", "object-detection", 90),
    ],
)
def test_each_of_torchvisions_detectors_says_what_it_is(name, task, classes):
    with torch.device("meta"):
        model = detection.__dict__[name](weights=None, weights_backbone=None)
    about = describe(model, Hints())
    architecture = "SSD" if name.startswith("ssdlite") else name  # whose class another module defines
    assert (about.framework, about.architecture, about.task, about.labels) == ("torchvision", architecture, task, None)
    assert torchvision_detectors._columns(model) - torchvision_detectors._has_background(model) == classes
    if task == "keypoint-detection":
        assert about.card["keypoints"][:2] == ("nose", "left_eye") and len(about.card["keypoints"]) == 17


def test_a_mistake_says_what_would_do():
    with pytest.raises(ExportError, match="normalises them itself; leave example, mean and std out"):
        describe(mask_rcnn(), Hints(mean=(0.5, 0.5, 0.5)))
    with pytest.raises(ExportError, match="labels has 2 names, but the model tells 3 classes apart"):
        Exporter(mask_rcnn(), labels=["cat", "dog"])
    with pytest.raises(ExportError, match="precision='fp16' is for classifiers"):
        Exporter(mask_rcnn(), precision="fp16")
    with pytest.raises(ExportError, match="not what exportweb exports MaskRCNN for; that is 'instance-segmentation'"):
        Exporter(mask_rcnn(), task="image-classification")


def test_a_name_and_a_checkpoint_make_a_detector(tmp_path):
    pytest.importorskip("timm")
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    trained = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=4)
    torch.save(trained.state_dict(), tmp_path / "trained.pt")
    model, labels = torchvision_detectors.create(name, classes=None, checkpoint=tmp_path / "trained.pt", pretrained=False)
    assert labels is None and model.roi_heads.box_predictor.cls_score.out_features == 4
    model, _ = torchvision_detectors.create(name, classes=2, checkpoint=None, pretrained=False)
    assert model.roi_heads.box_predictor.cls_score.out_features == 3
