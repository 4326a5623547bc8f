"""A card for a file of arrays; tests/runtime/test_predictor.py has those of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

import tensors
from exportweb.card import Output, TensorInput
from exportweb.errors import CardError
from exportweb.runtime import card_for_onnx
from versions import float_graph


def write(folder: Path, graph: bytes) -> Path:
    path = folder / "prices.onnx"
    path.write_bytes(graph)
    return path


def test_what_takes_no_images_takes_arrays(tmp_path: Path) -> None:
    card = card_for_onnx(write(tmp_path, tensors.linear()))
    assert (card.name, card.task, card.input) == ("prices", "tensor", None)
    assert card.inputs == (
        TensorInput(name="x", dtype="float32", shape=(None, 3)),
        TensorInput(name="words", dtype="string", shape=(None, 1)),
    )
    assert card.outputs == (Output(name="y", role="tensor"), Output(name="same", role="tensor"))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_what_looks_like_images_has_to_be_said(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path, float_graph(layout=layout))
    with pytest.raises(CardError, match=r"no task was given.*--task image-classification.*or any model by its arrays: --task tensor"):
        card_for_onnx(path)
    assert card_for_onnx(path, task="tensor").inputs[0].dtype == "float32"


@pytest.mark.parametrize(("options", "says"), [({"task": "tensor"}, "labels, mean, std"), ({}, "no task was given")])
def test_arrays_have_no_labels(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(CardError, match=says):
        card_for_onnx(write(tmp_path, tensors.linear()), labels=["a"], **options)


def test_an_input_that_nobody_can_send(tmp_path: Path) -> None:
    nodes = [helper.make_node("SequenceLength", ["x"], ["y"])]
    x = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [])
    graph = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    with pytest.raises(CardError, match=r"'x' as seq\(tensor\(float\)\); what can be sent to it is bool, int8"):
        card_for_onnx(write(tmp_path, graph.SerializeToString()))
