from __future__ import annotations

import pickle

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2s import build, config
from exportweb.errors import ExportError
from exportweb.exporters import detectron2_zoo
from exportweb.exporters.frameworks import Hints, describe

FASTER = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model as its trainer leaves it: the file of its configuration, and those of its weights in either format."""
    folder = tmp_path_factory.mktemp("trained")
    cfg = config(FASTER)
    model = build(cfg)
    (folder / "shapes.yaml").write_text(cfg.dump())
    torch.save({"model": model.state_dict(), "iteration": 99}, folder / "model_final.pth")
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()} | {"pixel_mean": model.pixel_mean.numpy()}
    (folder / "model_final.pkl").write_bytes(pickle.dumps({"model": arrays, "__author__": "Somebody"}))
    return folder, model


def test_a_name_of_the_zoo_with_or_without_its_suffix_is_a_model():
    for name in (FASTER, FASTER.removesuffix(".yaml"), "COCO-Detection/fcos_R_50_FPN_1x.py"):
        model, labels = detectron2_zoo.create(name, classes=None, checkpoint=None, pretrained=False)
        about = describe(model, Hints())
        assert labels is None and about.labels[:2] == ("person", "bicycle") and len(about.labels) == 80  # of COCO's metadata
        assert (about.input.color, about.input.resize_height, about.input.resize_max) == ("BGR", 800, 1333)


@pytest.mark.parametrize("weights", ["model_final.pth", "model_final.pkl"])
def test_what_a_trainer_saved_and_what_the_zoo_has_fit_their_configuration(trained, weights):
    folder, model = trained
    made, _ = detectron2_zoo.create(str(folder / "shapes.yaml"), classes=None, checkpoint=folder / weights, pretrained=False)
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in model.state_dict().items())
    assert describe(made, Hints()).input.resize_height == 96


def test_labels_say_how_many_classes_and_so_do_weights(trained):
    folder, model = trained
    made, _ = detectron2_zoo.create(FASTER, classes=7, checkpoint=None, pretrained=False)
    assert made.roi_heads.num_classes == 7
    text = (folder / "shapes.yaml").read_text()
    (folder / "other.yaml").write_text(text.replace("NUM_CLASSES: 3", "NUM_CLASSES: 80"))
    made, _ = detectron2_zoo.create(str(folder / "other.yaml"), classes=None, checkpoint=folder / "model_final.pth", pretrained=False)
    assert made.roi_heads.num_classes == model.roi_heads.num_classes == 3


def test_a_pickle_is_read_without_running_what_it_names(tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": {"weight": print}}))
    with pytest.raises(ExportError, match=r"evil\.pkl can't be read .*holds builtins\.print, which is no array"):
        detectron2_zoo.create(FASTER, classes=None, checkpoint=tmp_path / "evil.pkl", pretrained=False)


def test_a_mistake_says_what_would_do(trained, tmp_path):
    near = "COCO-Detection/faster_rcnn_R50_FPN_1x"
    with pytest.raises(ExportError, match=rf"no configuration '{near}'.* Did you mean .*faster_rcnn_R_50_FPN_1x\.yaml"):
        detectron2_zoo.create(near, classes=None, checkpoint=None, pretrained=False)
    with pytest.raises(ExportError, match=r"--weights model_final\.pkl"):
        detectron2_zoo.create(FASTER, classes=None, checkpoint=None, pretrained=True)
    with pytest.raises(ExportError, match=r"model_final\.pth doesn't fit .*R_50_C4"):
        detectron2_zoo.create(
            "COCO-Detection/faster_rcnn_R_50_C4_1x", classes=3, checkpoint=trained[0] / "model_final.pth", pretrained=False
        )
    (tmp_path / "odd.yaml").write_text("MODEL:\n  NO_SUCH_KEY: 1\n")
    with pytest.raises(ExportError, match=r"can't build .*odd\.yaml: KeyError: .*NO_SUCH_KEY"):
        detectron2_zoo.create(str(tmp_path / "odd.yaml"), classes=None, checkpoint=None, pretrained=False)
