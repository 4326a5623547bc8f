from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

transformers = pytest.importorskip("transformers")
pytest.importorskip("torchvision")  # which image processors of segmenters need

from detectors import picture, vary
from exportweb.exporters import transformers_models, transformers_segmenters
from exportweb.exporters.exporter import Exporter
from exportweb.exporters.frameworks import Hints, adapter, describe
from exportweb.runtime.predictor import Predictor

NAMES = {0: "sky", 1: "grass", 2: "road"}


def segformer():
    torch.manual_seed(0)
    stages = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_attention_heads": [1, 2], "sr_ratios": [4, 2], "mlp_ratios": [2, 2]}
    shapes = {"num_encoder_blocks": 2, "patch_sizes": [7, 3], "strides": [4, 2], "decoder_hidden_size": 8}
    config = transformers.SegformerConfig(**stages, **shapes, id2label=NAMES)
    return transformers.SegformerForSemanticSegmentation(config).eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A SegFormer with its processor, exported before its weights changed, with a predictor of what was published afterwards."""
    folder = tmp_path_factory.mktemp("segformer")
    processor = transformers.SegformerImageProcessor(size={"height": 64, "width": 96})
    processor.save_pretrained(folder)
    segformer().save_pretrained(folder)
    model = transformers_models.create(str(folder), checkpoint=None, pretrained=False)
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 96))  # as in a training that goes on: from now on it collects what its layers answer by hooks
    exporter = Exporter(model)
    vary(model)
    with torch.no_grad():  # no class is better than another on average
        model.eval()
        logits = model(processor(Image.fromarray(picture(64, 96)[0]), return_tensors="pt")["pixel_values"]).logits
        model.decode_head.classifier.bias.sub_(logits.mean(dim=(0, 2, 3)))
    with (folder / "version.onnx").open("wb") as file:
        exporter.write(file)
    return model, processor, exporter, Predictor.load(folder / "version.onnx", device="cpu")


def test_new_weights_are_put_into_the_known_graph_by_name(trained):
    model, _, exporter, _ = trained
    assert exporter.graph.whole is None
    assert {slot.name for slot in exporter.graph.template.slots} >= {name for name, _ in model.named_parameters()}


def test_the_card_says_what_configuration_and_processor_say(trained):
    card = trained[3].card
    assert (card.task, card.labels) == ("semantic-segmentation", ("sky", "grass", "road"))
    assert (card.input.height, card.input.resize, card.input.resize_height, card.input.resize_width) == (0, "exact", 64, 96)
    assert card.input.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(("size", "share"), [((64, 96), 0.001), ((130, 100), 0.02), ((57, 200), 0.02)])
def test_regions_are_those_of_the_library(trained, size, share):  # whose resize is Pillow's but for a level or two
    model, processor, _, predictor = trained
    image = Image.fromarray(picture(*size)[0])
    file = io.BytesIO()
    image.save(file, "PNG")
    with torch.no_grad():
        output = model.eval()(**processor(image, return_tensors="pt"))
    (expected,) = processor.post_process_semantic_segmentation(output, target_sizes=[size])
    places = np.bincount(expected.numpy().reshape(-1), minlength=3)
    regions = predictor.predict(file.getvalue(), format="coco", masks="rle")["annotations"]
    areas = np.zeros(3, int)
    for region in regions:
        areas[region["category_id"] - 1] = region["area"]
    assert areas.sum() == size[0] * size[1] and np.count_nonzero(places) > 1
    assert np.abs(areas - places).max() <= share * areas.sum()


def test_a_batch_of_a_size_that_was_not_traced(trained):
    model, _, exporter, predictor = trained
    images = np.concatenate([picture(57, 141), picture(57, 141)[:, ::-1], 255 - picture(57, 141)])
    got = predictor.session.run({"image": images})["semantic"]
    with torch.no_grad():
        expected = exporter.graph.wrap(model)(torch.from_numpy(images)).numpy()
    assert got.shape == expected.shape == (3, 3, 15, 36)
    assert np.abs(got - expected).max() <= 1e-3 * max(1, np.abs(expected).max())


def test_a_family_that_names_a_size_keeps_it(caplog):
    config = transformers.MobileViTConfig(image_size=64, id2label=NAMES)
    with torch.device("meta"):
        model = transformers.MobileViTForSemanticSegmentation(config)
    about = describe(model, Hints())
    assert adapter(model) is transformers_segmenters and about.labels == ("sky", "grass", "road")
    assert (about.input.height, about.input.width, about.input.color) == (64, 64, "BGR")
