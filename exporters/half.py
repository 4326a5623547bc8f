"""From a float32 graph to the same graph in float16, every weight still under its own name.

ONNX Runtime's own converter does it. What goes in and what comes out keep their types, images are normalised in float32 before they are
rounded, and operators that have no float16 form stay float32 between two casts. ONNX Runtime inserts such casts by itself where a device
lacks float16, as CPUs do. So activations that overflow float16 do it on a GPU alone: there the golden sample finds them.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
import onnx_ir
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_ir.passes.common import TopologicalSortPass

from exportweb.errors import ExportError, Rejected
from exportweb.exporters.graph import Exported, weightless

TOLERANCE = 1e-2
"""How far an answer may be from PyTorch's own in float32: five times what the worst of seven architectures took with random weights."""

LARGEST = 65504.0

_NORMALISED_BY = "exportweb_std"  # ImageModel's last step before the model divides by it


def wanted(precision: str) -> bool:
    """Whether versions are to be float16; raise `ExportError` for a precision in which a training run can't publish."""
    if precision == "int8":
        raise ExportError(
            "precision='int8' needs images to calibrate with, so a training run can't publish in it. Quantise a version that it has "
            "published: exportweb export runs/<name>/000012.onnx --precision int8 --calibrate DIR -o int8.onnx"
        )
    if precision not in ("fp32", "fp16"):
        raise ExportError(f"precision={precision!r} is not one that exportweb knows; give 'fp32' or 'fp16'.")
    return precision == "fp16"


def rounded(array: np.ndarray, name: str) -> np.ndarray:
    """Return a float32 weight or constant as float16 of the same shape.

    The largest of float32, by which masks mean infinity, becomes the largest of float16. Raises `Rejected` if anything else is too large.
    """
    with np.errstate(over="ignore"):
        value = array.astype(np.float16)
    lost = np.isinf(value)
    if lost.any():
        masked = np.abs(array) == np.finfo(np.float32).max
        if (lost & ~masked & np.isfinite(array)).any():
            raise Rejected(
                f"{name} holds values beyond ±{LARGEST:.0f}, the largest of float16; it can only be exported with precision='fp32'."
            )
        value = np.where(masked, np.copysign(LARGEST, array), value).astype(np.float16)
    return value


def half(model: bytes, names: Collection[str]) -> Exported:
    """Convert a serialised graph; `names` are those of its weights. Raises `ExportError` as `half_model` does."""
    converted = half_model(onnx.load_from_string(model))
    return Exported(converted.SerializeToString(), weightless(converted, names))


def half_model(model: ModelProto) -> ModelProto:
    """Return a model whose float32 weights and arithmetic are float16; `model` is used up.

    Raises `ExportError` if a weight is too large for float16.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    graph = model.graph
    front, constants = _take_normalisation(model)
    try:
        values = {t.name: rounded(numpy_helper.to_array(t), t.name) for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    except Rejected as error:
        raise ExportError(str(error)) from error
    normalised = None
    if front:
        normalised = front[-1].output[0]
        graph.input.append(helper.make_tensor_value_info(normalised, TensorProto.FLOAT, None))
    model = convert_float_to_float16(model, keep_io_types=True, force_fp16_initializers=True)  # type: ignore[no-untyped-call]
    graph = model.graph
    for tensor in graph.initializer:  # the converter clips what is too large, and enlarges what is very small
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    if normalised is not None:
        kept = [value for value in graph.input if value.name != normalised]
        del graph.input[:]
        graph.input.extend(kept)
        graph.node.extend(front)
        graph.initializer.extend(constants)
    ordered = onnx_ir.from_proto(model)
    TopologicalSortPass()(ordered)
    return onnx_ir.to_proto(ordered)


def _take_normalisation(model: ModelProto) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Take the nodes that normalise images, and the constants that only they read, out of a graph that exportweb exported."""
    graph = model.graph
    producer = {output: node for node in graph.node for output in node.output}
    last = next((node for node in graph.node if _NORMALISED_BY in node.input), None)
    front: list[onnx.NodeProto] = []
    todo = [last] if last is not None else []
    while todo:
        node = todo.pop()
        front.insert(0, node)
        todo += [producer[name] for name in node.input if name in producer]
    rest = [node for node in graph.node if node not in front]
    read = {name for node in rest for name in node.input}
    wanted = {name for node in front for name in node.input} - read
    constants = [tensor for tensor in graph.initializer if tensor.name in wanted]
    others = [tensor for tensor in graph.initializer if tensor.name not in wanted]
    del graph.node[:]
    graph.node.extend(rest)
    known = wanted.union(*(node.output for node in front))
    typed = [value for value in graph.value_info if value.name not in known]
    del graph.initializer[:]
    graph.initializer.extend(others)
    del graph.value_info[:]
    graph.value_info.extend(typed)
    return front, constants
