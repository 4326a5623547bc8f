"""Small models of arrays, as other tools write them: no card, names and shapes of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any] | None = None) -> bytes:
    """Return a graph as bytes; `inputs` and `outputs` are (name, type, shape)."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    infos = [[helper.make_tensor_value_info(*info) for info in infos] for infos in (inputs, outputs)]
    graph = helper.make_graph(nodes, "arrays", *infos, tensors)
    made: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data: bytes = made.SerializeToString()
    return data


def linear(scale: float = 1.0, features: int | str = 3) -> bytes:
    """``y = scale * x``, and ``words`` as they come: two inputs of different kinds."""
    nodes = [helper.make_node("Mul", ["x", "scale"], ["y"]), helper.make_node("Identity", ["words"], ["same"])]
    inputs = [("x", FLOAT, ["n", features]), ("words", TensorProto.STRING, ["n", 1])]
    outputs = [("y", FLOAT, ["n", features]), ("same", TensorProto.STRING, ["n", 1])]
    return model(nodes, inputs, outputs, {"scale": np.float32(scale)})


def reciprocal() -> bytes:
    """``y = 1 / x``: infinity for zeros."""
    return model([helper.make_node("Reciprocal", ["x"], ["y"])], [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["n", 3])])


def product() -> bytes:
    """``y = a @ b``, where the sides have to agree, which no graph says."""
    inputs = [("a", FLOAT, ["n", "m"]), ("b", FLOAT, ["k", "l"])]
    return model([helper.make_node("MatMul", ["a", "b"], ["y"])], inputs, [("y", FLOAT, ["n", "l"])])


def lookup() -> bytes:
    """``y = (10, 20)[i]``, for i in -2..1."""
    nodes = [helper.make_node("Gather", ["table", "i"], ["y"])]
    return model(nodes, [("i", TensorProto.INT64, ["n"])], [("y", FLOAT, ["n"])], {"table": np.array([10, 20], np.float32)})


def cast(source: int, target: int) -> bytes:
    """``y = x`` in another dtype, such as bfloat16."""
    return model([helper.make_node("Cast", ["x"], ["y"], to=target)], [("x", source, ["n", 3])], [("y", target, ["n", 3])])


def reshape() -> bytes:
    """``y = x`` as [2, 3]: nothing but six values will do."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    return model(nodes, [("x", FLOAT, ["n"])], [("y", FLOAT, [2, 3])], {"shape": np.array([2, 3])})
