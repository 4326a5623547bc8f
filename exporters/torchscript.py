"""PyTorch's older exporter, by way of TorchScript: for models whose answers are as many as there are things in an image.

It has traps. Opsets below 16 have no exact RoIAlign, and constants that it folds take the names of weights away. In evaluation mode it
fuses convolutions with what normalises them, and merges initializers that happen to be equal, as fresh weights often are: in both cases
a refresh by name would be wrong without a word. All that depends on the mode of the outermost module alone, so that one is said to train.
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import onnx_ir
import torch
from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters.image_model import THRESHOLD, Detector

_jit: Any = torch.jit  # has no types

OPSET = 17

_FREE = {"image-masks": [0, 1, 2], "semantic": [1, 2]}  # dimensions of outputs that may have any size; else the first, one for each object
_ALONE = threading.Lock()  # its settings are those of the process


def trace(model: nn.Module, image: torch.Tensor, outputs: list[str], free: Sequence[int]) -> onnx_ir.Model:
    """Trace a module and translate it; the dimensions of `image` that are `free` may have any size.

    A `Detector` is traced while it finds something, and gets its threshold afterwards.
    """
    for module in model.modules():
        module._non_persistent_buffers_set.clear()  # or they would be constants, which have no names
    file = io.BytesIO()
    threshold = float(model.exportweb_threshold) if isinstance(model, Detector) else None
    with _ALONE, torch.random.fork_rng(devices=[]), torch.no_grad(), contextlib.ExitStack() as stack:
        if isinstance(model, Detector):
            stack.enter_context(model.relaxed(image))
        model.training = True
        stack.callback(model.eval)
        torch.onnx.export(
            model,
            (image,),
            file,  # type: ignore[arg-type]  # this exporter takes one
            dynamo=False,
            input_names=["image"],
            output_names=outputs,
            dynamic_axes={"image": list(free), **{name: _FREE.get(name, [0]) for name in outputs}},
            opset_version=OPSET,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    graph = onnx_ir.from_proto(onnx.load_from_string(file.getvalue()))
    if threshold is not None:
        held = graph.graph.initializers[THRESHOLD]
        held.const_value = onnx_ir.tensor(torch.tensor(threshold).numpy(), name=THRESHOLD)
    return graph


def script(model: nn.Module, image: torch.Tensor) -> torch.jit.ScriptModule:
    """Trace a module, as TorchScript; it shares the module's tensors. A `Detector` is traced while it finds something.

    Raises `ExportError` with PyTorch's reason if it can't be traced.
    """
    with _ALONE, torch.random.fork_rng(devices=[]), torch.no_grad(), contextlib.ExitStack() as stack:
        if isinstance(model, Detector):
            stack.enter_context(model.relaxed(image))
        stack.enter_context(quiet())
        try:
            module: torch.jit.ScriptModule = _jit.trace(model, image, check_trace=False)
        except Exception as error:
            raise ExportError(f"PyTorch can't trace this model: {type(error).__name__}: {str(error).strip()[:300]}") from error
    return module


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself that TorchScript is deprecated, and what a trace might not follow: it is compared afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
