"""A small card and a small real ONNX graph; what commands are run on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from exportweb import Card, Store, artifact
from exportweb.card import Golden, ImageInput, Output, Source, Tensor
from serving import Artifacts


@pytest.fixture
def card() -> Card:
    image = ImageInput(height=4, width=4, resize_height=4, resize_width=4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return Card(
        name="tiny",
        task="image-classification",
        input=image,
        outputs=(Output(name="logits", role="logits"),),
        source=Source(framework="timm", model="tiny", created="2026-01-02T03:04:05+00:00", epoch=3, metrics={"accuracy": 0.5}),
        labels=("cat", "dog"),
        golden=Golden(
            inputs={"image": Tensor(dtype="uint8", shape=(1,), data=b"\x00\xff")},
            outputs={"logits": Tensor(dtype="float32", shape=(1,), data=b"\x01")},
            tolerance=1e-3,
        ),
    )


@pytest.fixture
def graph() -> bytes:
    """A ModelProto without a card: one Identity, and metadata of its own."""
    x = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 2])
    y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])
    nodes = [helper.make_node("Identity", ["image"], ["logits"])]
    model = helper.make_model(helper.make_graph(nodes, "tiny", [x], [y]), opset_imports=[helper.make_opsetid("", 20)])
    helper.set_model_props(model, {"author": "someone"})
    return model.SerializeToString()


@pytest.fixture
def write_artifact(card: Card, graph: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        with path.open("wb") as file:
            artifact.write(file, [graph], card)
        return path

    return write


@pytest.fixture
def file(artifacts: Artifacts, tmp_path: Path) -> Path:
    path: Path = artifacts.write(tmp_path / "colours.onnx", version=4, epoch=3, metrics={"accuracy": 0.5, "loss": 1.25})
    return path


@pytest.fixture
def store(artifacts: Artifacts, tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for epoch in (1, 2, 3):
        artifacts.publish(store, epoch=epoch, metrics={"accuracy": epoch / 10})
    return store


@pytest.fixture
def image(picture: Callable[..., bytes], tmp_path: Path) -> Path:
    path = tmp_path / "green.png"
    path.write_bytes(picture("green"))
    return path
