from __future__ import annotations

import contextlib
import io
import time

import numpy as np
import pytest
import torch
from torch import nn

from exportweb import artifact
from exportweb.errors import ExportError, Rejected
from exportweb.exporters.exporter import Exporter
from exportweb.exporters.frameworks import Hints
from exportweb.exporters.weights import Snapshot
from exportweb.runtime.session import OnnxSession
from models import LABELS, Growing, Tiny, batches, example, train_round


def write(exporter: Exporter, path, **facts):
    """Write a version of the model as it is now; return its card."""
    with path.open("wb") as file:
        exporter.write(file, **facts)
    return artifact.read(path).card


def answer(path, images: np.ndarray) -> np.ndarray:
    return OnnxSession(path, device="cpu").run({"image": images})["logits"]


def test_a_version_describes_itself(exporter, tmp_path):
    card = write(exporter, tmp_path / "a.onnx", epoch=3, step=90, metrics={"accuracy": 0.5})
    assert (card.name, card.task, card.labels) == ("Tiny", "image-classification", tuple(LABELS))
    assert (card.input.name, card.input.height, card.input.width, card.input.dtype) == ("image", 16, 16, "uint8")
    assert (card.source.epoch, card.source.step, card.source.metrics) == (3, 90, {"accuracy": 0.5})
    assert card.source.packages["torch"] == torch.__version__.split("+")[0] or "torch" in card.source.packages
    artifact.verify(artifact.read(tmp_path / "a.onnx"))


def test_new_weights_in_the_known_graph_equal_a_fresh_export(model, tmp_path):
    exporter = Exporter(model, hints=Hints(example()))
    graph = exporter.graph
    train_round(model, torch.optim.SGD(model.parameters(), 0.5), batches())
    write(exporter, tmp_path / "refreshed.onnx")
    assert exporter.graph is graph

    fresh = Exporter(model, hints=Hints(example()))
    write(fresh, tmp_path / "fresh.onnx")
    images = exporter.graph.sample
    assert np.array_equal(answer(tmp_path / "refreshed.onnx", images), answer(tmp_path / "fresh.onnx", images))
    assert np.abs(answer(tmp_path / "fresh.onnx", images) - fresh.graph.eager(images)["logits"]).max() < 1e-5


def test_exporting_leaves_no_trace_in_the_model(model):
    model.drop.eval()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    hook = model.head.register_forward_hook(lambda *args: None)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    seed, modules, attributes = torch.get_rng_state(), dict(model.named_modules()), set(vars(model))
    Exporter(model, hints=Hints(example()))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), seed)
    assert dict(model.named_modules()) == modules and set(vars(model)) == attributes
    assert model.training and not model.drop.training and hook.id in model.head._forward_hooks
    assert torch.equal(model.head.weight.grad, torch.ones_like(model.head.weight))
    assert all(p.requires_grad for p in model.parameters())


def test_a_new_head_is_exported_again(model, tmp_path, caplog):
    exporter = Exporter(model, labels=LABELS, hints=Hints(example()))
    graph = exporter.graph
    model.head = nn.Linear(8, 6)
    card = write(exporter, tmp_path / "six.onnx")
    assert exporter.graph is not graph
    assert card.labels == tuple(f"class_{i}" for i in range(6))
    assert "6 classes, but 4 labels" in caplog.text


def test_a_model_whose_graph_cannot_be_refreshed_is_exported_whole(tmp_path, caplog):
    class Reads(Tiny):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([2.0]))

        def forward(self, x):
            return super().forward(x) * (2.0 if torch.compiler.is_compiling() else self.scale.tolist()[0])

    model = Reads()
    exporter = Exporter(model, hints=Hints(example()))
    assert "exported whole for each version" in caplog.text and "scale" in caplog.text
    first = exporter.graph
    write(exporter, tmp_path / "a.onnx")
    assert exporter.graph is not first and exporter.graph.whole is not None


def test_weights_that_are_not_finite_are_refused_by_name(model, tmp_path):
    exporter = Exporter(model, hints=Hints(example()))
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    with pytest.raises(Rejected, match=r"head\.bias holds NaN"):
        write(exporter, tmp_path / "nan.onnx")


def test_a_bound_that_is_infinite_by_design_is_no_fault(tmp_path):
    class Bounded(Tiny):
        def __init__(self):
            super().__init__()
            self.register_buffer("most", torch.tensor(float("inf")))

        def forward(self, x):
            return super().forward(x.clamp(max=self.most))

    model = Bounded()
    exporter = Exporter(model, hints=Hints(example()))
    write(exporter, tmp_path / "unbounded.onnx")
    model.most.fill_(0.5)
    write(exporter, tmp_path / "bounded.onnx")
    images = exporter.graph.sample
    assert np.abs(answer(tmp_path / "bounded.onnx", images) - answer(tmp_path / "unbounded.onnx", images)).max() > 1e-3
    model.most.fill_(float("nan"))
    with pytest.raises(Rejected, match="answers with NaN"):
        write(exporter, tmp_path / "nan.onnx")


def test_answers_that_overflow_are_refused(model, tmp_path):
    exporter = Exporter(model, hints=Hints(example()))
    with torch.no_grad():
        model.norm.bias.fill_(1e3)
        model.head.weight.fill_(3e38)
    with pytest.raises(Rejected, match="answers with NaN or infinity"):
        write(exporter, tmp_path / "inf.onnx")


def test_a_file_that_disagrees_with_pytorch_is_refused(model, tmp_path):
    exporter = Exporter(model, hints=Hints(example()))
    exporter.graph.twin.register_forward_hook(lambda module, images, logits: logits + 1)
    with pytest.raises(Rejected, match=r"golden sample failed: ONNX Runtime's answer is not PyTorch's: .* off; allowed is"):
        write(exporter, tmp_path / "a.onnx")


def test_a_model_that_makes_much_of_what_is_rounded_is_refused_for_that(tmp_path):
    torch.manual_seed(0)
    exporter = Exporter(Growing(), hints=Hints(example()))
    with pytest.raises(Rejected, match=r"PyTorch's own is .* this model magnifies"):
        write(exporter, tmp_path / "a.onnx")


def test_the_file_is_written_while_pytorch_answers(model):
    class Recorded(io.BytesIO):
        def writelines(self, lines):
            done.append("writes")
            super().writelines(lines)

    def slowly(*_):
        time.sleep(0.05)
        done.append("answers")

    exporter = Exporter(model, hints=Hints(example()))
    exporter.graph.twin.register_forward_hook(slowly)
    snapshot = Snapshot(exporter.weights)
    snapshot.take(exporter.weights)
    done: list[str] = []
    with contextlib.suppress(io.UnsupportedOperation):  # nothing to be synced here
        exporter.graph.write(Recorded(), snapshot, exporter.card(exporter.graph))
    assert done == ["writes", "answers"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["one"]}, "labels has 1 names, but the model tells 4 classes apart"),
        ({"task": "poetry"}, "task='poetry'"),
        ({"hints": Hints()}, "Show an example"),
        ({"hints": Hints(torch.zeros(1, 5, 8, 8))}, r"has shape \(1, 5, 8, 8\)"),
        ({"hints": Hints(torch.zeros(1, 1, 16, 16))}, r"fails on a batch of images \[2, 16, 16, 1\]"),
    ],
)
def test_a_mistake_shows_what_was_given_and_what_would_do(model, options, message):
    with pytest.raises(ExportError, match=message):
        Exporter(model, **{"hints": Hints(example()), **options})


def test_a_model_that_is_no_classifier_says_what_it_answered():
    with pytest.raises(ExportError, match=r"answered \[2, 3, 16, 16\]"):
        Exporter(nn.Identity(), hints=Hints(example()))
