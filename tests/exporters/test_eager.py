"""The model in PyTorch, beside its own artifact."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from PIL import Image

from detectors import picture
from exportweb import artifact
from exportweb.errors import ExportError
from exportweb.exporters import eager, export, torchvision_models
from exportweb.runtime.evaluate import Pipeline, kind_of
from exportweb.runtime.evaluate.data import Example

MODULE = """
import timm, torch, torchvision
import detectors
from models import Tiny

def vit():
    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=10)

def tiny():
    torch.manual_seed(0)
    return Tiny()

def detector():
    model = detectors.mask_rcnn(threshold=0.0)
    detectors.stir(model)
    return model

def of_another_size():
    return torch.nn.Linear(3, 3)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Pictures of several sizes, and a module of models that can be imported."""
    folder: Path = tmp_path_factory.mktemp("eager")
    (folder / "eager_models.py").write_text(MODULE)
    for size in ((90, 200), (230, 160), (160, 160)):
        Image.fromarray(picture(*size)[0]).save(folder / f"{size[0]}x{size[1]}.png")
    threads = torch.get_num_threads()
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    torch.set_num_threads(threads)


def compare(model_file: Path, spec: str, folder: Path) -> tuple[str, dict[str, float]]:
    with Pipeline(model_file, device="cpu") as pipeline:
        kind = kind_of(pipeline.predictor)
        same = kind.agreement()
        model = eager.load(spec, pipeline.predictor, kind)
        for example, answer in pipeline.answers([Example(path, None) for path in sorted(folder.glob("*.png"))], kind.asks):
            same.add(kind.read(answer), model.answer(example.path))
    return model.prepared, same.result()


def test_a_timm_model_with_timms_own_transform(folder: Path) -> None:
    import eager_models

    path = export(eager_models.vit(), folder / "vit.onnx")
    prepared, agreement = compare(path, "eager_models:vit", folder)
    assert prepared == "timm"
    assert agreement == {"same top class": 1.0, "largest difference of a score": pytest.approx(0, abs=1e-5)}


def test_timms_answer_is_what_anyone_would_compute(folder: Path) -> None:
    import eager_models

    model = eager_models.vit().eval()
    with Pipeline(folder / "vit.onnx", device="cpu") as pipeline:
        answer = eager.load("eager_models:vit", pipeline.predictor, kind_of(pipeline.predictor)).answer(folder / "90x200.png")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.inference_mode(), Image.open(folder / "90x200.png") as image:
        expected = model(transform(image)[None]).softmax(1)[0].numpy()
    assert np.allclose(answer, expected, atol=1e-6)


def test_a_model_that_was_exported_for_other_images_gets_those(folder: Path) -> None:
    """Timm's transform would not be what was trained with."""
    found = artifact.read(folder / "vit.onnx")
    assert found.card is not None and found.card.input is not None
    squeezed = msgspec.structs.replace(found.card.input, resize="exact", interpolation="bilinear")
    with (folder / "squeezed.onnx").open("wb") as file:
        artifact.rewrite(file, found, found.card.replace(input=squeezed))
    prepared, agreement = compare(folder / "squeezed.onnx", "eager_models:vit", folder)
    assert prepared == "the server"
    assert agreement["largest difference of a score"] < 1e-5


def test_any_module_stands_in_for_its_graph(folder: Path) -> None:
    import eager_models

    path = export(eager_models.tiny(), folder / "tiny.onnx", example=torch.zeros(1, 3, 16, 16), mean=(0.4,) * 3, std=(0.2,) * 3)
    prepared, agreement = compare(path, "eager_models:tiny", folder)
    assert prepared == "the server"
    assert agreement == {"same top class": 1.0, "largest difference of a score": pytest.approx(0, abs=1e-5)}


def test_a_transformers_model_with_the_processor_beside_its_weights(folder: Path) -> None:
    """Whose resize is torchvision's, so that pixels differ by a level or so, which the graph alone would not show."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    small = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "image_size": 32,
        "patch_size": 8,
    }
    transformers.ViTForImageClassification(transformers.ViTConfig(**small, num_labels=4)).save_pretrained(folder / "saved")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "saved")
    (folder / "eager_hub.py").write_text(
        f"import transformers\nmake = lambda: transformers.ViTForImageClassification.from_pretrained({str(folder / 'saved')!r})\n"
    )
    import eager_hub

    prepared, agreement = compare(export(eager_hub.make(), folder / "hub.onnx"), "eager_hub:make", folder)
    assert prepared == "transformers"
    assert agreement["same top class"] == 1
    assert agreement["largest difference of a score"] < 1e-3


def test_torchvisions_transform_is_the_weights_preset(folder: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    preset = models.ShuffleNet_V2_X0_5_Weights.DEFAULT.transforms()
    ours = torchvision_models.transform(models.shufflenet_v2_x0_5(num_classes=5))
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            assert torch.equal(ours(image), preset(image))


def test_a_detector_of_torchvision_by_its_own_forward(folder: Path) -> None:
    """Its transform, its pasting of masks: nothing of the server's, and nothing of the exporter's."""
    import eager_models

    path = export(eager_models.detector(), folder / "detector.onnx", labels=["a", "b", "c"])
    prepared, agreement = compare(path, "eager_models:detector", folder)
    assert prepared == "torchvision"
    assert agreement["same objects"] > 0.99
    assert agreement["largest difference of a score"] < 1e-4
    assert agreement["largest difference of a side, in pixels"] < 0.05
    with Pipeline(path, device="cpu") as pipeline:
        kind = kind_of(pipeline.predictor)
        image = folder / "90x200.png"
        ours = kind.read(next(pipeline.answers([Example(image, None)], kind.asks))[1])
        theirs = eager.load("eager_models:detector", pipeline.predictor, kind).answer(image)
    assert len(ours) == len(theirs) > 3
    assert all(one["segmentation"]["size"] == [90, 200] for one in (*ours, *theirs))


def test_mistakes_are_explained(folder: Path) -> None:
    with Pipeline(folder / "tiny.onnx", device="cpu") as pipeline:
        kind = kind_of(pipeline.predictor)
        with pytest.raises(ExportError, match="'timm/resnet18' is no model to compare with"):
            eager.load("timm/resnet18", pipeline.predictor, kind)
        with pytest.raises(ExportError, match="eager_models:none can't be found"):
            eager.load("eager_models:none", pipeline.predictor, kind)
        other = eager.load("eager_models:of_another_size", pipeline.predictor, kind)
        with pytest.raises(ExportError, match=r"eager_models:of_another_size fails on .*90x200.png: RuntimeError"):
            other.answer(folder / "90x200.png")
