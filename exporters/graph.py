"""From a module to an ONNX graph that keeps every weight under its own name."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import onnx_ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript import optimizer
from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters.unwrap import forget_caches

OPSET = 20
_PREFIX = "model."
_LIMIT = 2**31 - 2**24  # bytes: what protobuf can hold in one message, less room for the graph itself


class Exported(NamedTuple):
    """A graph as two serialised ModelProtos: whole, and with its weights as further inputs of the same names, for checking any weights."""

    whole: bytes
    weightless: bytes


class ImageModel(nn.Module):
    """A classifier that takes images as they come out of a decoder.

    Input: uint8 [N, height, width, channels]. Output: float32 [N, classes]. The channels are moved first while a pixel is still one
    byte; then ``(x / 255 - mean) / std`` in float32, in the order of torchvision's ToTensor and Normalize, so that every bit is theirs.
    """

    exportweb_mean: torch.Tensor
    exportweb_std: torch.Tensor

    def __init__(self, model: nn.Module, *, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("exportweb_mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("exportweb_std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise and classify."""
        x = image.permute(0, 3, 1, 2).to(torch.float32)
        return logits(self.model((x / 255 - self.exportweb_mean) / self.exportweb_std))


def logits(output: object) -> torch.Tensor:
    """Return the class scores in what a classifier's forward gave: a tensor, an output with `logits`, or the first of a tuple."""
    output = getattr(output, "logits", output)
    if isinstance(output, dict) and "logits" in output:
        output = output["logits"]
    if isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise ExportError(f"A classifier's forward should return a tensor of class scores; this one returned {type(output).__name__}.")
    return output


def export_graph(model: nn.Module, image: torch.Tensor, names: Iterable[str]) -> Exported:
    """Export a module whose weights lie under ``model.`` to ONNX.

    `image` is an example batch of at least two (one would fix the batch size). `names` are those of the weights, without ``model.``, and
    initializers get them. Whatever else the graph needs, such as a table that the forward makes, is a constant of it. Nothing is folded
    but what depends on shapes alone: folding a weight would take its name away, and folding nothing leaves biases that keep ONNX Runtime
    from fusing convolutions with batch normalisation.

    Raises `ExportError` with PyTorch's reason if the graph can't be traced or translated, or if its weights don't fit into one file.
    """
    size = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    if size >= _LIMIT:
        raise ExportError(f"The model's weights take {size / 1e9:.1f} GB; an ONNX file without a second one for its weights holds 2 GB.")
    forget_caches(model)  # or what a forward before this one left behind would be traced as a constant
    with _quiet():
        try:
            program = torch.onnx.export(
                model,
                (image,),
                dynamo=True,
                input_names=["image"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                opset_version=OPSET,
                optimize=False,
                external_data=False,
                verbose=False,
            )
        except Exception as error:
            raise ExportError(f"PyTorch can't export this model to ONNX: {_reason(error)}") from error
        if program is None:
            raise ExportError("PyTorch can't export this model to ONNX, and gave no reason.")
        graph = program.model
        weights = {_PREFIX + name for name in names} & set(graph.graph.initializers)
        optimizer.fold_constants(graph, should_fold=lambda node: _depends_on_shape(node, weights))
        RemoveUnusedNodesPass()(graph)
        held = [value for name, value in graph.graph.initializers.items() if name in weights]
        _rename(graph.graph, {str(value.name): str(value.name).removeprefix(_PREFIX) for value in held})
        graph.producer_name = "exportweb"
        whole: bytes = onnx_ir.to_proto(graph).SerializeToString()
        for value in held:
            del graph.graph.initializers[str(value.name)]
            graph.graph.inputs.append(value)
        return Exported(whole, onnx_ir.to_proto(graph).SerializeToString())


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
