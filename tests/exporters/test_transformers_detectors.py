from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

transformers = pytest.importorskip("transformers")
pytest.importorskip("torchvision")  # which image processors of detectors need

from detectors import picture, vary
from exportweb.exporters import transformers_detectors, transformers_models
from exportweb.exporters.exporter import Exporter
from exportweb.exporters.frameworks import Hints, adapter, describe
from exportweb.exporters.golden import disagreement
from exportweb.runtime.predictor import Predictor

NAMES = {0: "cat", 1: "dog", 2: "bird"}
SMALL = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_queries": 8,
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
}


def detector(kind: str = "Detr"):
    """A detector of that family with a ResNet of two stages."""
    torch.manual_seed(0)
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", out_features=["stage2"], downsample_in_first_stage=True
    )
    config = getattr(transformers, f"{kind}Config")(backbone_config=backbone, id2label=NAMES, **SMALL)
    return getattr(transformers, f"{kind}ForObjectDetection")(config).eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A DETR with its processor, exported before its weights changed, with a predictor of what was published afterwards."""
    folder = tmp_path_factory.mktemp("detr")
    processor = transformers.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}, image_mean=[0.4] * 3)
    processor.save_pretrained(folder)
    detector().save_pretrained(folder)
    model = transformers_models.create(str(folder), checkpoint=None, pretrained=False)
    exporter = Exporter(model)
    vary(model)
    with torch.no_grad():  # no class is better than another on average
        model.class_labels_classifier.weight.mul_(5)
        logits = model.eval()(torch.from_numpy(picture(64, 96)).permute(0, 3, 1, 2) / 255).logits
        model.class_labels_classifier.bias.sub_(logits.mean(dim=(0, 1)))
    with (folder / "version.onnx").open("wb") as file:
        exporter.write(file)
    return model, processor, exporter, Predictor.load(folder / "version.onnx", device="cpu")


def test_new_weights_are_put_into_the_known_graph_by_name(trained):
    model, _, exporter, _ = trained
    assert exporter.graph.whole is None
    assert {slot.name for slot in exporter.graph.template.slots} >= {name for name, _ in model.named_parameters()}


def test_the_card_says_what_configuration_and_processor_say(trained):
    card = trained[3].card
    assert (card.task, card.labels, card.source.model) == ("object-detection", ("cat", "dog", "bird"), "DetrForObjectDetection")
    assert (card.input.height, card.input.resize, card.input.resize_height, card.input.resize_max) == (0, "shortest", 64, 96)
    assert card.input.mean == (0.4, 0.4, 0.4)


@torch.no_grad()
def itself(model, processor, image):
    """What the library answers, by the names of the roles."""
    output = model.eval()(**processor(image, return_tensors="pt"))
    (found,) = processor.post_process_object_detection(output, threshold=0.0, target_sizes=[image.size[::-1]])
    return {"boxes": found["boxes"].numpy(), "scores": found["scores"].numpy(), "classes": found["labels"].numpy()}


@pytest.mark.parametrize(("size", "tolerance"), [((64, 80), 1e-3), ((96, 64), 1e-3), ((100, 130), 1e-2), ((57, 200), 1e-2)])
def test_images_of_any_size_are_answered_as_the_library_does(trained, size, tolerance):  # whose resize is Pillow's but for a level or two
    model, processor, _, predictor = trained
    image = Image.fromarray(picture(*size)[0])
    file = io.BytesIO()
    image.save(file, "PNG")
    prepared = predictor.prepare(file.getvalue())
    (row,) = predictor.infer([prepared])
    expected = itself(model, processor, image)
    scale = np.array(size[::-1]) / prepared.arrays["image"].shape[1::-1]
    got = {**row, "boxes": row["boxes"] * np.tile(scale, 2)}
    assert len(expected["scores"]) == 8
    assert disagreement(got, expected, tolerance=tolerance) is None
    assert np.ptp(expected["scores"]) > 0.01 and np.ptp(expected["boxes"], axis=0).max() > 1
    threshold = float(expected["scores"].mean())
    answer = predictor.predict(file.getvalue(), threshold=threshold)
    assert (expected["scores"] > threshold + tolerance).sum() <= len(answer) <= (expected["scores"] > threshold - tolerance).sum()
    assert {found["label"] for found in answer} <= set(NAMES.values())


def test_a_batch_is_answered_at_once(trained):
    model, _, exporter, predictor = trained
    images = np.concatenate([picture(64, 96), picture(64, 96)[:, ::-1], 255 - picture(64, 96)])
    got = predictor.session.run({"image": images})
    assert got["boxes"].shape == (3, 8, 4) and got["classes"].dtype == np.int64
    with torch.no_grad():
        expected = exporter.graph.wrap(model)(torch.from_numpy(images))
    assert disagreement(got, dict(zip(("boxes", "scores", "classes"), (each.numpy() for each in expected), strict=True))) is None


def test_a_detector_without_a_class_for_nothing_scores_each_class_by_itself():
    model = detector("ConditionalDetr")
    about = describe(model, Hints(torch.zeros(1, 3, 64, 96)))
    assert adapter(model) is transformers_detectors and about.wrap.keywords == {"most": 100}
    assert (about.input.height, about.input.width) == (64, 96)
    wrapped, image = about.wrap(model, about.input).eval(), torch.from_numpy(picture(64, 96))
    with torch.no_grad():
        boxes, scores, classes = wrapped(image)
        output = model(wrapped.normalised(image))
    processor = transformers.ConditionalDetrImageProcessor()
    (found,) = processor.post_process_object_detection(output, threshold=0.0, target_sizes=[(64, 96)])
    assert torch.equal(scores[0], found["scores"]) and torch.equal(classes[0], found["labels"]) and len(scores[0]) == 24
    assert torch.allclose(boxes[0], found["boxes"], atol=1e-4)


def test_without_a_processor_it_is_that_of_the_family(caplog):
    image = describe(detector(), Hints()).input
    assert (image.height, image.resize_height, image.resize_max) == (0, 800, 1333)
    assert "it is taken to be DetrImageProcessor" in caplog.text
