"""Graphs of arrays, loaded, checked and asked, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto

import tensors
from exportweb.card import TensorInput
from exportweb.errors import BadInput, CardError
from exportweb.runtime import Predictor, card_for_onnx, verify

Load = Callable[..., Predictor]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(graph: bytes, **card: Any) -> Predictor:
        path = tmp_path / "model.onnx"
        path.write_bytes(graph)
        described = card_for_onnx(path, task="tensor").replace(**card)
        return Predictor.load(path, device="cpu", threads=1, card=described)

    return load


def ask(predictor: Predictor, inputs: object) -> Any:
    return predictor.predict(json.dumps({"inputs": inputs}).encode())["outputs"]


def test_several_inputs_and_outputs(load: Load) -> None:
    predictor = load(tensors.linear(scale=2))
    assert (predictor.takes, predictor.max_batch, predictor.decoding) == ("arrays", 1, None)
    assert ask(predictor, {"x": [[1, 2, 3]], "words": [["ü"]]}) == {"y": [[2, 4, 6]], "same": [["ü"]]}


def test_a_request_is_as_many_rows_as_it_holds(load: Load) -> None:
    assert ask(load(tensors.linear()), {"x": np.eye(3).tolist(), "words": [["a"]] * 3})["same"] == [["a"]] * 3


def test_bfloat16_is_floats_on_both_sides(load: Load) -> None:
    outwards = load(tensors.cast(TensorProto.FLOAT, TensorProto.BFLOAT16))
    assert ask(outwards, [[1, -2.5, 3.140625]]) == {"y": [[1, -2.5, 3.140625]]}
    assert ask(outwards, [[1.00001, None, 0]])["y"][0][0] == 1
    inwards = load(tensors.cast(TensorProto.BFLOAT16, TensorProto.FLOAT))
    assert ask(inwards, [[1, -2.5, 3.140625]]) == {"y": [[1, -2.5, 3.140625]]}


@pytest.mark.parametrize("graph", [tensors.reciprocal(), tensors.reshape(), tensors.product()], ids=["infinite", "impossible", "fitting"])
def test_zeros_prove_nothing_about_a_graph_of_arrays(load: Load, graph: bytes) -> None:
    predictor = load(graph)
    verify.golden(predictor)
    assert list(verify.warm(predictor, 1)) == [1]


@pytest.mark.parametrize(
    ("graph", "inputs"),
    [(tensors.product(), {"a": [[1, 2]], "b": [[1, 2]]}), (tensors.lookup(), [5]), (tensors.reshape(), [1])],
    ids=["sides that disagree", "beyond the table", "another shape"],
)
def test_what_only_the_graph_can_find_wrong(load: Load, graph: bytes, inputs: object) -> None:
    with pytest.raises(BadInput, match=r"could not run the model on (a|i|x) (float32|int64)\[1.*may have to agree"):
        ask(load(graph), inputs)


def test_a_card_that_describes_another_graph(load: Load) -> None:
    other = (TensorInput(name="x", dtype="float32", shape=(None, 4)),)
    with pytest.raises(CardError, match=r"takes 'x' \(float32 \[N, 4\]\); it takes 'x' \(float32 \[N, 3\]\), 'words' \(string \[N, 1\]\)"):
        load(tensors.linear(), inputs=other)
    with pytest.raises(CardError, match="names no output"):
        load(tensors.linear(), outputs=())


def test_a_card_of_arrays_survives_json(load: Load) -> None:
    card = load(tensors.linear()).card
    assert type(card).decode(card.encode()) == card
    assert "input" not in msgspec.json.decode(card.encode())
