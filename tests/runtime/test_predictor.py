from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from exportweb.card import ImageInput, Output
from exportweb.errors import ArtifactError, BadParameter, CardError, NotAnImage, TornArtifact
from exportweb.runtime import Predictor, card_for_onnx
from serving import SIDE, Artifacts, graph
from versions import float_graph, score, version

Picture = Callable[..., bytes]


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[..., Path]:
    def write(**graph: Any) -> Path:
        path = tmp_path / "foreign.onnx"
        path.write_bytes(float_graph(**graph))
        return path

    return write


def test_predicts(tmp_path: Path, artifacts: Artifacts, picture: Picture) -> None:
    predictor = Predictor.load(artifacts.write(tmp_path / "model.onnx", scale=3.0), device="cpu")
    answer = predictor.predict(picture("green"), top_k=1)
    assert answer == [{"label": "green", "score": pytest.approx(score(3.0))}]
    assert predictor.card.name == "colours"
    assert predictor.device == "cpu"
    assert predictor.providers == ("CPUExecutionProvider",)


def test_a_batch_answers_as_its_images_do(tmp_path: Path, artifacts: Artifacts, picture: Picture) -> None:
    predictor = Predictor.load(artifacts.write(tmp_path / "model.onnx"), device="cpu")
    arrays = [predictor.prepare(picture(colour)) for colour in ("red", "blue", "green")]
    alone = [predictor.infer([array])[0]["logits"] for array in arrays]
    np.testing.assert_array_equal([row["logits"] for row in predictor.infer(arrays)], alone)


def test_what_a_client_does_wrong(tmp_path: Path, artifacts: Artifacts, picture: Picture) -> None:
    predictor = Predictor.load(artifacts.write(tmp_path / "model.onnx"), device="cpu")
    with pytest.raises(NotAnImage):
        predictor.predict(b"hello")
    with pytest.raises(BadParameter):
        predictor.predict(picture(), top_k=7)


def test_a_file_that_can_not_be_used(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    data = version()
    path.write_bytes(data[:-9])
    with pytest.raises(TornArtifact):
        Predictor.load(path)
    path.write_bytes(data.replace(b"colours", b"coloirs", 1))
    with pytest.raises(TornArtifact, match="digest"):
        Predictor.load(path)
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ArtifactError, match="TorchScript"):
        Predictor.load(path)
    with pytest.raises(OSError, match="nowhere"):
        Predictor.load(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": "poetry"}, "'poetry'"),
        ({"labels": ("a",)}, "1 labels.*3 classes"),
        ({"outputs": ()}, "role"),
    ],
)
def test_a_card_that_does_not_fit_its_graph(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(version(**change))
    with pytest.raises(CardError, match=says):
        Predictor.load(path, device="cpu")


def test_an_input_that_does_not_fit_its_graph(tmp_path: Path, artifacts: Artifacts) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(version(model=float_graph()))
    with pytest.raises(CardError, match="one input, 'image'; the graph has 'input'"):
        Predictor.load(path, device="cpu")
    card = artifacts.card()
    path.write_bytes(version(model=graph(), input=card_input(card.input, height=9)))
    with pytest.raises(CardError, match=r"uint8 \[N, 9, 8, 3\]; the graph wants uint8 \[N, 8, 8, 3\]"):
        Predictor.load(path, device="cpu")


def card_input(image: Any, **changes: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(image, **changes)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_foreign_file_with_a_card_of_the_users_words(foreign: Callable[..., Path], layout: str, picture: Picture) -> None:
    path = foreign(layout=layout)
    card = card_for_onnx(path, task="image-classification", labels=["r", "g", "b"], mean=[0.5], std=[0.1, 0.2, 0.5])
    predictor = Predictor.load(path, device="cpu", card=card)
    (row,) = predictor.infer([predictor.prepare(picture("red"))])
    assert row["output"] == pytest.approx([5.0, -2.5, -1.0])  # (1 - 0.5) / 0.1, (0 - 0.5) / 0.2, (0 - 0.5) / 0.5
    assert predictor.predict(picture("red"), top_k=1)[0]["label"] == "r"


def test_a_foreign_file_without_a_card_says_what_to_do(foreign: Callable[..., Path]) -> None:
    with pytest.raises(CardError, match=r"--task image-classification --labels labels\.txt --mean"):
        Predictor.load(foreign())


def test_a_fixed_batch_of_one_is_kept_to(foreign: Callable[..., Path], picture: Picture) -> None:
    path = foreign(batch=1)
    predictor = Predictor.load(path, device="cpu", card=card_for_onnx(path, task="image-classification", mean=[0], std=[1]))
    assert predictor.max_batch == 1
    assert predictor.predict(picture("blue"), top_k=1)[0]["label"] == "class_2"


@pytest.mark.parametrize(
    ("graph", "options", "says"),
    [
        ({}, {}, "no task was given.*--task image-classification"),
        ({}, {"task": "poetry"}, "'poetry'"),
        ({}, {"task": "image-classification"}, "how they are normalised: .*--mean"),
        ({}, {"task": "image-classification", "mean": [0.5, 0.5], "std": [1]}, "--mean has 2 numbers.*3 channels"),
        ({}, {"task": "image-classification", "mean": [0.5], "std": [0]}, "--std has to be positive"),
        ({}, {"task": "image-classification", "mean": [0], "std": [1], "labels": ["a"]}, "1 labels"),
        ({"batch": 4}, {"task": "image-classification"}, "batches of exactly 4"),
        ({"side": "s"}, {"task": "image-classification"}, "fixed H and W"),
        ({"dtype": TensorProto.UINT8}, {"task": "image-classification"}, "uint8 only as"),
        ({"dtype": TensorProto.INT64}, {"task": "image-classification"}, "float32 or uint8"),
    ],
)
def test_a_foreign_file_that_is_not_described(
    foreign: Callable[..., Path], graph: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(CardError, match=says):
        card_for_onnx(foreign(**graph), **options)


def test_a_foreign_uint8_graph_normalises_itself(foreign: Callable[..., Path]) -> None:
    card = card_for_onnx(foreign(layout="NHWC", dtype=TensorProto.UINT8), task="image-classification", resize_to=12)
    assert (card.input.dtype, card.input.height, card.input.resize_height) == ("uint8", SIDE, 12)
    assert card.input.name == "input"


def test_images_of_different_sizes_are_run_apart_and_answered_in_order(tmp_path: Path, artifacts: Artifacts, picture: Picture) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(float_graph(layout="NHWC", side="any", dtype=TensorProto.UINT8))
    described = ImageInput(name="input", height=0, width=0, resize="none", resize_height=0, resize_width=0, mean=(0.0,) * 3, std=(1.0,) * 3)
    card = artifacts.card().replace(input=described, outputs=(Output(name="output", role="logits"),), golden=None)
    predictor = Predictor.load(path, device="cpu", card=card)
    asked = [("red", (30, 20)), ("green", (7, 9)), ("blue", (30, 20)), ("red", (7, 9))]

    rows = predictor.infer([predictor.prepare(picture(colour, size=size)) for colour, size in asked])

    assert [row["output"].argmax() for row in rows] == [0, 1, 2, 0]
    assert predictor.max_batch is None
