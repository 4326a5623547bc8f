"""From a module to an ONNX graph that keeps every weight under its own name."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import onnx_ir
import torch
from onnx import ModelProto, helper
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript import optimizer
from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters import operators, torchscript, translations
from exportweb.exporters.image_model import THRESHOLD
from exportweb.exporters.unwrap import forget_caches

OPSET = 20
_PREFIX = "model."
_LIMIT = 2**31 - 2**24  # bytes: what protobuf can hold in one message, less room for the graph itself


class Exported(NamedTuple):
    """A graph as two serialised ModelProtos: whole, and with its weights as further inputs of the same names, for checking any weights.

    A detector's threshold is such an input, too.
    """

    whole: bytes
    weightless: bytes


def export_graph(
    model: nn.Module,
    image: torch.Tensor,
    names: Iterable[str],
    *,
    outputs: Sequence[str] = ("logits",),
    free: Sequence[int] = (0,),
    tracer: str = "dynamo",
) -> Exported:
    """Export a module whose weights lie under ``model.`` to ONNX.

    `image` is an example batch: of at least two (one would fix the batch size), if 0 is one of the dimensions that are `free` to have any
    size. `names` are those of the weights, without ``model.``, and initializers get them. `outputs` and `tracer` are those of
    `Description`. Whatever else the graph needs, such as a table that the forward makes, is a constant of it. Nothing is folded but what
    depends on shapes alone: folding a weight would take its name away, and folding nothing leaves biases that keep ONNX Runtime from
    fusing convolutions with batch normalisation.

    Raises `ExportError` with PyTorch's reason if the graph can't be traced or translated, or if its weights don't fit into one file.
    """
    size = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    if size >= _LIMIT:
        raise ExportError(f"The model's weights take {size / 1e9:.1f} GB; an ONNX file without a second one for its weights holds 2 GB.")
    forget_caches(model)  # or what a forward before this one left behind would be traced as a constant
    with _quiet():
        try:
            trace = torchscript.trace if tracer == "torchscript" else _trace
            graph = trace(model, image, list(outputs), free)
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(f"PyTorch can't export this model to ONNX: {_reason(error)}") from error
        weights = {_PREFIX + name for name in names} & set(graph.graph.initializers)
        if tracer == "dynamo":
            optimizer.fold_constants(graph, should_fold=lambda node: _depends_on_shape(node, weights))
        RemoveUnusedNodesPass()(graph)
        held = [value for name, value in graph.graph.initializers.items() if name in weights]
        _rename(graph.graph, {str(value.name): str(value.name).removeprefix(_PREFIX) for value in held})
        graph.producer_name = "exportweb"
        whole: bytes = onnx_ir.to_proto(graph).SerializeToString()
        for value in (*held, *filter(None, [graph.graph.initializers.get(THRESHOLD)])):
            del graph.graph.initializers[str(value.name)]
            graph.graph.inputs.append(value)
        return Exported(whole, onnx_ir.to_proto(graph).SerializeToString())


def weightless(model: ModelProto, names: Collection[str]) -> bytes:
    """Serialise a graph with its weights, which go by these names, as further inputs; `model` is used up."""
    graph = model.graph
    held = [tensor for tensor in graph.initializer if tensor.name in names]
    kept = [tensor for tensor in graph.initializer if tensor.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.input.extend(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in held)
    light: bytes = model.SerializeToString()
    return light


def _trace(model: nn.Module, image: torch.Tensor, outputs: list[str], free: Sequence[int]) -> onnx_ir.Model:
    """Trace and translate a module with `torch.export`."""
    with operators.read_once():
        program = torch.onnx.export(
            model,
            (image,),
            dynamo=True,
            input_names=["image"],
            output_names=outputs,
            dynamic_shapes=(dict.fromkeys(free, torch.export.Dim.DYNAMIC),),
            opset_version=OPSET,
            optimize=False,
            external_data=False,
            verbose=False,
            custom_translation_table=translations.table(any_size=len(free) > 1),
        )
    if program is None:
        raise ExportError("PyTorch can't export this model to ONNX, and gave no reason.")
    return program.model


def _rename(graph: onnx_ir.Graph, names: dict[str, str]) -> None:
    """Give initializers other names; a value in between that had one of these gets a new one, inputs and outputs keep theirs."""
    fixed = {value.name for value in (*graph.inputs, *graph.outputs)}
    wanted = set(names.values())
    for node in graph.all_nodes():
        for value in node.outputs:
            if value.name in wanted - fixed:
                value.name = f"{value.name}/value"
    for name, new in names.items():
        if new not in fixed:
            graph.initializers[name].name = new


def _depends_on_shape(node: onnx_ir.Node, weights: set[str]) -> bool | None:
    """Of the nodes that read a weight, fold those that ask for its shape; leave the rest to the optimizer (None)."""
    if any(value is not None and value.name in weights for value in node.inputs):
        return node.op_type == "Shape"
    return None


def _reason(error: BaseException) -> str:
    """The innermost cause, which is the one about the model, as one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about its own internals off the training log."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
