from __future__ import annotations

import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters.golden import mosaic
from exportweb.exporters.graph import export_graph
from exportweb.exporters.image_model import ImageModel, logits
from exportweb.exporters.torch_modules import image_input
from exportweb.exporters.unwrap import eval_copy
from models import Tiny, example

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
INPUT = image_input(example(), mean=MEAN, std=STD)


@pytest.fixture(scope="module")
def traced():
    """A module and its graph."""
    torch.manual_seed(0)
    model = ImageModel(eval_copy(Tiny()), INPUT).eval()
    return model, export_graph(model, torch.from_numpy(mosaic(image_input(example()), batch=2)), list(model.model.state_dict()))


def test_the_graph_takes_images_as_bytes_in_batches_of_any_size(traced):
    model, graph = traced
    session = onnxruntime.InferenceSession(graph.whole)
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(uint8)", [16, 16, 3])
    for batch in (1, 2, 5):
        images = mosaic(image_input(example()), batch=batch)
        (got,) = session.run(["logits"], {"image": images})
        with torch.no_grad():
            assert np.abs(got - model(torch.from_numpy(images)).numpy()).max() < 1e-5


def test_weights_keep_the_names_they_have_in_the_state_dict(traced):
    model, graph = traced
    proto = onnx.load(io.BytesIO(graph.whole))
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for name, value in model.model.state_dict().items():
        if value.is_floating_point():
            assert np.array_equal(held[name], value.numpy()), name


def test_without_its_weights_the_graph_answers_with_those_it_is_given(traced):
    model, graph = traced
    session = onnxruntime.InferenceSession(graph.weightless)
    weights = {name: value.numpy() for name, value in model.model.state_dict().items() if value.is_floating_point()}
    assert {port.name for port in session.get_inputs()} == {"image", *weights}
    images = mosaic(image_input(example()))
    with torch.no_grad():
        scores = model(torch.from_numpy(images)).numpy()
    (got,) = session.run(["logits"], {**weights, "image": images})
    assert np.abs(got - scores).max() < 1e-5
    weights["head.bias"] = weights["head.bias"] + 1
    (got,) = session.run(["logits"], {**weights, "image": images})
    assert np.abs(got - 1 - scores).max() < 1e-5


def test_what_the_forward_makes_is_no_weight():
    class Makes(Tiny):
        def forward(self, x):
            return super().forward(x) * torch.tensor([1.0, 2.0, 3.0, 4.0])

    model = ImageModel(eval_copy(Makes()), INPUT).eval()
    graph = export_graph(model, torch.from_numpy(mosaic(image_input(example()), batch=2)), list(model.model.state_dict()))
    assert {port.name for port in onnxruntime.InferenceSession(graph.weightless).get_inputs()} - {"image"} <= set(model.model.state_dict())


def test_convolution_and_normalisation_can_still_be_fused(traced, tmp_path):
    _, graph = traced
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(graph.whole, options)
    operators = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert "BatchNormalization" not in operators


def test_the_normalisation_is_that_of_the_training_transform_bit_for_bit():
    model = ImageModel(nn.Identity(), INPUT)
    image = torch.arange(256, dtype=torch.uint8).repeat(3, 1).T.reshape(1, 16, 16, 3)
    expected = (image.permute(0, 3, 1, 2).float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert torch.equal(model(image), expected)


def test_class_scores_are_found_in_what_frameworks_return():
    scores = torch.zeros(2, 3)
    assert logits(scores) is scores
    assert logits({"logits": scores}) is scores
    assert logits((scores, "auxiliary")) is scores
    with pytest.raises(ExportError, match="returned str"):
        logits("scores")


def test_weights_that_one_file_cannot_hold_are_refused_before_anything_is_traced():
    with torch.device("meta"):
        model = ImageModel(nn.Linear(3, 2**28), INPUT)
    with pytest.raises(ExportError, match=r"take 4\.3 GB; an ONNX file .* holds 2 GB"):
        export_graph(model, torch.zeros(2, 16, 16, 3, dtype=torch.uint8), ["weight", "bias"])


def test_a_model_that_cannot_be_traced_says_why():
    class DependsOnData(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) if x.sum().item() > 0 else x.amax((2, 3))

    model = ImageModel(DependsOnData(), INPUT)
    with pytest.raises(ExportError, match=r"PyTorch can't export this model to ONNX: .*data-dependent"):
        export_graph(model, torch.zeros(2, 16, 16, 3, dtype=torch.uint8), [])
