from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

torchvision = pytest.importorskip("torchvision")

from torchvision import models

from detectors import picture, stir
from exportweb.errors import ExportError
from exportweb.exporters import torchvision_segmenters
from exportweb.exporters.exporter import Exporter, default_name
from exportweb.exporters.frameworks import Hints, describe
from exportweb.runtime.predictor import Predictor
from exportweb.runtime.preprocess import Preprocess
from segmenters import balance, deeplab, fcn, lraspp

BUILDERS = models.list_models(module=models.segmentation)
LABELS = ["sky", "grass", "road", "car"]


def write(exporter, path):
    """Publish the model as it is now; return a predictor of it."""
    with path.open("wb") as file:
        exporter.write(file)
    return Predictor.load(path, device="cpu")


@pytest.fixture(scope="module", params=[deeplab, fcn, lraspp], ids=lambda make: make.__name__)
def trained(request, tmp_path_factory):
    """A segmenter, exported before its weights changed, with the version that was published afterwards."""
    model = request.param()
    exporter = Exporter(model, labels=LABELS)
    stir(model)
    balance(model, picture(64, 64))
    return model, exporter, write(exporter, tmp_path_factory.mktemp("segmenter") / "version.onnx")


def preset(name="fcn_resnet50"):
    return models.get_model_weights(name).DEFAULT.transforms()


def test_new_weights_are_put_into_the_known_graph_by_name(trained):
    model, exporter, _ = trained
    assert exporter.graph.whole is None
    used = {name for name, value in model.state_dict().items() if value.is_floating_point() and not name.startswith("aux_")}
    assert {slot.name for slot in exporter.graph.template.slots} >= used


@pytest.mark.parametrize("sizes", [[(64, 64)], [(57, 200)] * 3, [(141, 60)] * 2])
def test_batches_of_any_size_are_answered_as_the_model_itself_does(trained, sizes):
    model, exporter, predictor = trained
    images = np.concatenate([picture(*size) for size in sizes])
    got = predictor.session.run({"image": images})["semantic"]
    image = exporter.description.input
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (image.mean, image.std))
    with torch.no_grad():
        expected = model.eval()((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std)["out"].numpy()
    assert got.shape == expected.shape == (len(sizes), 4, *sizes[0])
    assert np.abs(got - expected).max() <= 1e-3 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("size", [(40, 60), (300, 210)])
def test_a_server_answers_the_regions_that_torchvision_finds(trained, size):
    model, _, predictor = trained
    image = Image.fromarray(picture(*size)[0])
    file = io.BytesIO()
    image.save(file, "PNG")
    with torch.no_grad():
        out = model.eval()(preset()(image)[None])["out"]
    expected = torch.nn.functional.interpolate(out, size, mode="bilinear", align_corners=False)[0].argmax(dim=0).numpy()
    regions = predictor.predict(file.getvalue(), format="coco", masks="rle")["annotations"]
    assert sum(region["area"] for region in regions) == expected.size
    places = np.bincount(expected.reshape(-1), minlength=4)
    for region in regions:
        assert abs(region["area"] - places[region["category_id"] - 1]) <= 0.002 * expected.size
    assert len(regions) == np.count_nonzero(places) > 1


@pytest.mark.parametrize("name", BUILDERS)
def test_each_of_torchvisions_segmenters_says_what_it_is(name):
    with torch.device("meta"):
        model = models.get_model(name, weights=None, weights_backbone=None, num_classes=7)
    about = describe(model, Hints())
    assert (about.framework, about.architecture, about.task, about.labels) == ("torchvision", name, "semantic-segmentation", None)
    for shape in ((40, 60), (90, 31)):
        image = Image.fromarray(picture(*shape)[0])
        pixels = Preprocess(about.input)(image).astype(np.float32)
        mean, std = np.array(about.input.mean, np.float32), np.array(about.input.std, np.float32)
        assert np.array_equal(((pixels / np.float32(255) - mean) / std).transpose(2, 0, 1), preset(name)(image).numpy())


def test_an_example_says_which_size_images_are_squeezed_to():
    model = lraspp()
    assert default_name(model) == "LRASPP"  # of nobody's layers
    image = describe(model, Hints(torch.zeros(2, 3, 96, 128), mean=(0.5, 0.5, 0.5))).input
    assert (image.height, image.resize, image.resize_height, image.resize_width) == (0, "exact", 96, 128)
    assert image.mean == (0.5, 0.5, 0.5)


def test_a_name_and_a_checkpoint_make_a_segmenter(tmp_path):
    pytest.importorskip("timm")
    for name, options in (("lraspp_mobilenet_v3_large", {}), ("deeplabv3_mobilenet_v3_large", {"aux_loss": True})):
        trained = models.get_model(name, weights=None, weights_backbone=None, num_classes=5, **options)
        torch.save(trained.state_dict(), tmp_path / "trained.pt")
        model, labels = torchvision_segmenters.create(name, classes=None, checkpoint=tmp_path / "trained.pt", pretrained=False)
        assert labels is None and len(list(model.classifier.parameters())[-1]) == 5
        assert all(torch.equal(value, trained.state_dict()[key]) for key, value in model.state_dict().items())


def test_a_mistake_says_what_would_do():
    with pytest.raises(ExportError, match="labels has 2 names, but the model tells 4 classes apart"):
        Exporter(fcn(), labels=["cat", "dog"])
    with pytest.raises(ExportError, match="not what exportweb exports FCN for; that is 'semantic-segmentation'"):
        Exporter(fcn(), task="image-classification")
    with pytest.raises(ExportError, match="precision='fp16' is for classifiers"):
        Exporter(fcn(), precision="fp16")
