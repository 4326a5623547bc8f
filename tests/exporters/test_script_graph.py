from __future__ import annotations

import pytest
import torch

pytest.importorskip("torchvision")

from detectors import mask_rcnn, picture, stir
from exportweb import artifact
from exportweb.errors import Rejected
from exportweb.exporters import proof
from exportweb.exporters.beside import Beside
from exportweb.exporters.exporter import Exporter
from exportweb.exporters.frameworks import Hints, describe
from exportweb.exporters.golden import disagreement
from exportweb.exporters.script_graph import ScriptGraph
from exportweb.exporters.single import export
from exportweb.exporters.weights import Snapshot, Weights
from exportweb.runtime import Predictor, verify
from exportweb.runtime.torchscript import TorchScriptSession


class Bessel(torch.nn.Module):
    """What ONNX has no operator for."""

    def forward(self, x):
        return x + torch.special.bessel_j1(x)


def detector():
    model = mask_rcnn(threshold=0.0)
    model.backbone.append(Bessel())
    return model


@pytest.fixture
def falls_back(monkeypatch):
    """torchvision's detectors may become TorchScript."""
    from exportweb.exporters import torchvision_detectors

    before = torchvision_detectors.describe
    monkeypatch.setattr(torchvision_detectors, "describe", lambda model, hints: before(model, hints)._replace(fallback=True))


def take(weights):
    snapshot = Snapshot(weights)
    snapshot.take(weights)
    return snapshot


def test_new_weights_are_put_into_the_known_archive_and_answered_as_by_the_model(tmp_path, falls_back):
    model = detector()
    exporter = Exporter(model, labels=["circle", "square", "star"])
    graph = exporter.graph
    assert isinstance(graph, ScriptGraph) and graph.whole is None and "bessel_j1" in graph.fallback
    assert all(name.endswith("num_batches_tracked") for name in graph.template.missing)
    stir(model)
    path = tmp_path / "version.torchscript"
    with path.open("wb") as file:
        card = exporter.current_graph().write(file, take(exporter.weights), exporter.card(graph))
    assert (artifact.read(path).format, artifact.read(path).card) == ("torchscript", card)
    assert card.fallback == graph.fallback
    session, twin = TorchScriptSession(path, card=card, device="cpu", threads=1), graph.twin
    for size in ((64, 64), (57, 200)):
        image = picture(*size)
        graph.borrow(take(exporter.weights))
        expected = {name: tensor.numpy() for name, tensor in zip(graph.outputs, twin(torch.from_numpy(image)), strict=True)}
        assert len(expected["scores"]) > 10
        assert disagreement(session.run({"image": image}), expected) is None
    verify.golden(Predictor.load(path, device="cpu", trust_torchscript=True))


def test_a_weight_that_was_copied_while_tracing_is_noticed():
    class Copies(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(1.0))

        def forward(self, x):
            return x * float(self.scale)

    model = mask_rcnn(threshold=0.0)
    model.backbone.append(Copies())
    weights = Weights(model)
    graph = ScriptGraph(model, weights, describe(model, Hints()), Beside())
    assert proof.disprove(graph, take(weights)) == "traced again with other weights, it is another graph"


def test_a_version_that_is_not_finite_is_refused(tmp_path):
    model = detector()
    weights = Weights(model)
    graph = ScriptGraph(model, weights, describe(model, Hints()), Beside())
    model.backbone[0].weight.data[0] = float("nan")
    with (tmp_path / "version.torchscript").open("wb") as file, pytest.raises(Rejected, match=r"backbone.0.weight holds NaN"):
        graph.write(file, take(weights), None)


def test_a_file_says_by_its_name_what_it_became(tmp_path, falls_back):
    path = export(detector(), tmp_path / "model.onnx")
    assert path == tmp_path / "model.torchscript" and artifact.read(path).format == "torchscript"
