from __future__ import annotations

import io
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from exportweb import artifact
from exportweb.errors import Rejected
from exportweb.exporters import any_size
from exportweb.exporters.exporter import Exporter
from exportweb.exporters.frameworks import Hints
from exportweb.exporters.golden import mosaic
from exportweb.exporters.weights import Snapshot
from exportweb.runtime import tensors, verify
from exportweb.runtime.predictor import Predictor
from exportweb.runtime.session import OnnxSession
from models import Tiny

SIZE = 224


class Residual(Tiny):
    """Has a block of MobileNetV3: convolutions, weighed by channel, are added to what goes into them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.outer = nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.conv(x)))
        inner = self.inner(x)
        return self.head((x + self.outer(inner * inner.mean((2, 3), keepdim=True).sigmoid())).mean((2, 3)))


def exported(model: nn.Module, *, size: int = SIZE, precision: str = "fp32") -> Exporter:
    torch.manual_seed(0)
    return Exporter(model, hints=Hints(torch.zeros(1, 3, size, size)), precision=precision)


def sides(exporter: Exporter) -> tuple[int, ...]:
    return exporter.graph.sample.shape[1:3]


@pytest.fixture(scope="module")
def residual() -> Exporter:
    return exported(Residual())


@pytest.fixture(scope="module")
def path(residual, tmp_path_factory):
    path = tmp_path_factory.mktemp("any_size") / "model.onnx"
    with path.open("w+b") as file:
        residual.write(file)
    return path


def test_a_version_is_checked_with_a_small_image(residual, path):
    card = artifact.read(path).card
    assert (card.input.height, card.input.width) == (SIZE, SIZE)
    assert card.golden.inputs["image"].shape == (1, 64, 64, 3)
    verify.golden(Predictor.load(path, device="cpu"))


@pytest.mark.parametrize("size", [(SIZE, SIZE), (75, 101), (65, 64)])
def test_its_graph_answers_images_of_any_size_as_the_model_does(residual, path, size):
    images = mosaic(residual.description.input, batch=3, size=size)
    got = OnnxSession(path, device="cpu").run({"image": images})
    assert np.abs(got["logits"] - residual.graph.eager(images)["logits"]).max() < 1e-5


def test_who_loads_it_is_told_the_size_of_the_card(path):
    graph, predictor = OnnxSession(path, device="cpu"), Predictor.load(path, device="cpu")
    assert graph.inputs[0].shape == (None, None, None, 3)
    assert predictor.session.inputs[0].shape == (None, SIZE, SIZE, 3)
    assert graph.outputs[0].shape == (None, 4)
    recorded = OnnxSession(path, device="cpu", graphs=(1, 2), sides={"image": (SIZE, SIZE, 3)})
    images = mosaic(artifact.read(path).card.input, batch=2)
    assert np.allclose(recorded.run({"image": images})["logits"], graph.run({"image": images})["logits"], atol=1e-6)


def test_onnxruntime_joins_as_much_as_where_the_size_is_fixed(path, tmp_path):
    free = onnx.load(path)
    fixed = onnx.ModelProto()
    fixed.CopyFrom(free)
    del fixed.graph.value_info[:]
    for side in fixed.graph.input[0].type.tensor_type.shape.dim[1:3]:
        side.dim_value = SIZE
    unnamed = onnx.ModelProto()
    unnamed.CopyFrom(free)
    del unnamed.graph.value_info[:]
    assert operators(free, tmp_path) == operators(fixed, tmp_path) != operators(unnamed, tmp_path)


def test_weights_stay_under_their_names_and_a_new_one_is_followed(residual):
    with torch.no_grad():
        residual.model.head.bias.add_(3)
    try:
        file = io.BytesIO()
        snapshot = Snapshot(residual.weights)
        snapshot.take(residual.weights)
        file.writelines(residual.graph.template.fill(snapshot.tensors))
        held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(file.getvalue()).graph.initializer}
        assert all(np.array_equal(held[name], v.numpy()) for name, v in residual.model.state_dict().items() if v.is_floating_point())
        residual.graph.borrow(snapshot)
        images = mosaic(residual.description.input, batch=2)
        got = OnnxSession(file.getvalue(), device="cpu").run({"image": images})["logits"]
        assert np.abs(got - residual.graph.eager(images)["logits"]).max() < 1e-5
    finally:
        with torch.no_grad():
            residual.model.head.bias.sub_(3)


def test_a_wrong_graph_is_still_refused(tmp_path):
    exporter = exported(Residual())
    exporter.graph.twin.model.inner.padding = (0, 0)
    exporter.graph.twin.model.forward = lambda x: exporter.graph.twin.model.head(F.relu(exporter.graph.twin.model.conv(x)).mean((2, 3)))
    with (tmp_path / "model.onnx").open("w+b") as file, pytest.raises(Rejected, match="golden sample failed"):
        exporter.write(file)


def test_in_half_precision_too(tmp_path):
    exporter = exported(Residual(), precision="fp16")
    assert sides(exporter) == (64, 64)
    with (tmp_path / "model.onnx").open("w+b") as file:
        exporter.write(file)
    verify.golden(Predictor.load(tmp_path / "model.onnx", device="cpu"))


def test_of_small_images_the_sample_is_a_whole_one():
    assert sides(exported(Residual(), size=80)) == (80, 80)


class Flat(Tiny):
    """Takes images of one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Linear(8 * 14 * 14, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.flat(F.avg_pool2d(self.conv(x), 8, ceil_mode=True).flatten(1))


class Measures(Tiny):
    """Computes with the size of its images, which a trace makes a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (x.shape[-1] / 100)


class Pads(Tiny):
    """Pads as TensorFlow does: in the graph as much as images of one size need."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        odd = x.shape[-1] % 2
        return super().forward(F.pad(x, (0, 1 + odd, 0, 1 + odd), value=5.0))


class Remembers(Tiny):
    """Keeps a table for the first size that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.table: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.table is None:
            self.table = torch.linspace(0, 1, x.shape[-1])
        return super().forward(x * self.table)


@pytest.mark.parametrize("model", [Flat, Measures, Pads, Remembers])
def test_what_depends_on_the_size_keeps_it(model, tmp_path):
    exporter = exported(model())
    assert exporter.graph.whole is None and sides(exporter) == (SIZE, SIZE)
    with (tmp_path / "model.onnx").open("w+b") as file:
        card = exporter.write(file)
    predictor = Predictor.load(tmp_path / "model.onnx", device="cpu")
    assert predictor.session.inputs[0].shape == (None, SIZE, SIZE, 3)
    got = predictor.session.run({"image": tensors.decode(card.golden.inputs["image"])})["logits"]
    assert np.abs(got - tensors.decode(card.golden.outputs["logits"])).max() < 1e-5


def test_answers_have_to_be_as_exact_as_two_images_are_apart():
    expected = {"logits": np.array([[100.0, 1.0], [100.0, 2.0]], np.float32)}
    assert any_size.same({"logits": expected["logits"] + 0.009}, expected)
    assert not any_size.same({"logits": expected["logits"] + 0.011}, expected)
    assert not any_size.same({"logits": expected["logits"][:1]}, expected)
    assert not any_size.same({"logits": np.full((2, 2), np.nan, np.float32)}, expected)


def operators(model: onnx.ModelProto, folder) -> Counter[str]:
    """Return what ONNX Runtime makes of a graph."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    graph = onnx.load(folder / "optimised.onnx").graph
    return Counter(f"{node.op_type} of {len(node.input)}" for node in graph.node)
