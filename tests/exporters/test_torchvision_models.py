from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from exportweb import artifact
from exportweb.errors import ExportError
from exportweb.exporters import torchvision_models
from exportweb.exporters.exporter import default_name
from exportweb.exporters.frameworks import Hints, describe
from exportweb.exporters.single import cli_export
from exportweb.runtime.preprocess import Preprocess
from models import Tiny

torchvision = pytest.importorskip("torchvision")

from torchvision import models

BUILDERS = models.list_models(module=models)


def hollow(name: str, **options) -> torch.nn.Module:
    """A model of that builder whose weights take no memory."""
    with torch.device("meta"):
        return models.get_model(name, weights=None, **options)


def photo(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", BUILDERS)
def test_images_are_prepared_bit_for_bit_as_the_builders_weights_say(name):
    image = torchvision_models._image(torchvision_models._hollow(name))
    presets = [weights.transforms() for weights in (models.get_model_weights(name).DEFAULT, *models.get_model_weights(name))]
    preset = next(preset for preset in presets if preset.crop_size == [image.height])
    for picture in (photo(400, 301), photo(200, 333)):
        pixels = Preprocess(image)(picture).astype(np.float32)
        mean, std = np.array(image.mean, np.float32), np.array(image.std, np.float32)
        assert np.array_equal(((pixels / np.float32(255) - mean) / std).transpose(2, 0, 1), preset(picture).numpy())


def test_a_model_is_known_by_its_layers_whatever_its_head():
    model = hollow("resnet50", num_classes=7)
    about = describe(model, Hints())
    assert (about.framework, about.architecture, about.labels) == ("torchvision", "resnet50", None)
    assert (about.input.height, about.input.resize, about.input.resize_height, about.input.interpolation) == (
        224,
        "shortest",
        232,
        "bilinear",
    )
    model.fc = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(2048, 3))
    assert default_name(model) == "resnet50"
    assert default_name(hollow("inception_v3", aux_logits=False, init_weights=False)) == "inception_v3"


def test_a_model_of_ones_own_layers_is_prepared_for_as_most_are():
    about = describe(models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1]), Hints())
    assert about.architecture == "ResNet"
    assert (about.input.height, about.input.resize_height, about.input.mean) == (224, 256, (0.485, 0.456, 0.406))


def test_a_vision_transformer_says_its_size():
    large = describe(hollow("vit_b_16", image_size=384), Hints()).input
    assert (large.height, large.resize_height, large.interpolation) == (384, 384, "bicubic")  # there are weights for that size
    small = describe(hollow("vit_b_16", image_size=112), Hints()).input
    assert (small.height, small.resize_height) == (112, 128)


def test_a_first_convolution_for_grey_takes_grey():
    model = hollow("resnet18")
    model.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    about = describe(model, Hints())
    assert (about.architecture, about.input.color, about.input.mean) == ("resnet18", "L", pytest.approx((0.449,)))


def test_what_the_user_says_goes_before():
    about = describe(hollow("resnet18"), Hints(torch.zeros(3, 32, 64), mean=(0.0, 0.0, 0.0)))
    assert (about.input.height, about.input.width, about.input.mean, about.input.std) == (32, 64, (0.0, 0.0, 0.0), (0.229, 0.224, 0.225))


def test_describing_draws_no_random_number():
    model = torchvision_models._hollow("regnet_y_400mf")
    before = torch.get_rng_state()
    torchvision_models._fitting.cache_clear()
    describe(model, Hints())
    assert torch.equal(torch.get_rng_state(), before)


def test_other_models_are_not_recognised():
    assert not torchvision_models.recognises(Tiny())
    assert not torchvision_models.recognises(torch.nn.Sequential(hollow("alexnet")))
    with torch.device("meta"):
        assert not torchvision_models.recognises(models.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None))


def test_a_checkpoint_brings_its_number_of_classes(tmp_path):
    pytest.importorskip("timm")
    trained = models.get_model("squeezenet1_1", num_classes=5)
    torch.save(trained.state_dict(), tmp_path / "trained.pt")
    path = cli_export("torchvision/squeezenet1_1", output=tmp_path / "m.onnx", checkpoint=tmp_path / "trained.pt")
    card = artifact.read(path).card
    assert (card.name, len(card.labels), card.labels[0]) == ("squeezenet1_1", 5, "class_0")
    assert trained.state_dict()["classifier.1.weight"].numpy().tobytes() in path.read_bytes()


def test_a_checkpoint_without_auxiliary_heads_fits(tmp_path):
    pytest.importorskip("timm")
    trained = models.googlenet(num_classes=3, aux_logits=False, init_weights=False)
    torch.save(trained.state_dict(), tmp_path / "trained.pt")
    model, _ = torchvision_models.create("googlenet", classes=None, checkpoint=tmp_path / "trained.pt", pretrained=False)
    assert model.fc.out_features == 3 and model.aux1 is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet5", {}, r"torchvision .* has no image model 'resnet5'\. Did you mean resnet50"),
        ("resnet18", {"pretrained": True, "classes": 7}, "The pretrained resnet18 tells 1000 classes apart; 7 labels were given"),
    ],
)
def test_a_mistake_says_what_would_do(name, options, message):
    with pytest.raises(ExportError, match=message):
        torchvision_models.create(name, **{"classes": None, "checkpoint": None, "pretrained": False, **options})
