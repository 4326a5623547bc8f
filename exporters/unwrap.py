"""Find the module that a researcher wrote inside whatever wraps it for training."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters.sharded import is_fsdp1
from exportweb.exporters.weights import WRAPPERS

_COMPUTING = ("torch.nn.utils.", "transformers.utils.output_capturing")  # modules whose hooks are part of what a model does


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile`, DataParallel, DistributedDataParallel, FSDP or an averaged (SWA, EMA) model."""
    while True:
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # torch.compile
            model = inner
        elif isinstance(
            model,
            nn.DataParallel | nn.parallel.DistributedDataParallel | torch.optim.swa_utils.AveragedModel,
        ):
            model = model.module
        elif is_fsdp1(model):
            model = cast(nn.Module, model.module)
        else:
            return model


def eval_copy(model: nn.Module) -> nn.Module:
    """Return a float32 copy on the CPU, in evaluation mode, that shares nothing with `model` and that can be exported.

    Hooks that users registered stay behind, since they may collect what they see. Those by which PyTorch itself computes a weight (weight
    norm, spectral norm), or by which transformers collects what its layers answer, come along. Fused attention is switched off, since its
    masked forms have no ONNX translation.

    Raises `ExportError` if the module can't be copied.
    """
    # The copies of the tensors are made first and handed to deepcopy as done, so that a copy never takes memory on a GPU.
    memo: dict[int, object] = {
        id(t): nn.Parameter(_on_cpu(t), requires_grad=False) if isinstance(t, nn.Parameter) else _on_cpu(t)
        for t in (*model.parameters(), *model.buffers(), *_plain_tensors(model))
    }
    try:
        twin = copy.deepcopy(model, memo)
    except Exception as error:
        raise ExportError(
            f"{type(model).__name__} can't be copied ({error}), and exporting must not touch the model itself. "
            "Make it work with copy.deepcopy: keep open files, locks and tensors with a history out of its attributes."
        ) from error
    _unwrap_inside(twin)
    for module in twin.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [k for k, hook in hooks.items() if not (getattr(hook, "__module__", None) or "").startswith(_COMPUTING)]:
                del hooks[key]
        module._backward_hooks.clear()
        module._backward_pre_hooks.clear()
        if isinstance(getattr(module, "fused_attn", None), bool):
            object.__setattr__(module, "fused_attn", False)
        _plain_forward(module)
    return forget_caches(twin)


def _unwrap_inside(model: nn.Module) -> None:
    """Take the modules inside a copy out of what wraps them one by one."""
    for module in list(model.modules()):
        for name, child in module._modules.items():
            while child is not None and (inner := next((child._modules[w] for w in WRAPPERS if w in child._modules), None)) is not None:
                child = module._modules[name] = inner


def _plain_forward(module: nn.Module) -> None:
    """Take back what stands in for a copied module's `forward`: of a compiler, which would run the module that was copied, and of
    Accelerate, which computes in the precision of the training.
    """
    forward = vars(module).get("forward")
    if forward is None:
        return
    if (original := vars(module).get("_original_forward")) is not None:  # Accelerate
        forward = original
    if (original := getattr(forward, "_torchdynamo_orig_callable", None)) is not None:  # torch.compile
        forward = types.MethodType(original.__func__, module) if isinstance(original, types.MethodType) else original
    object.__setattr__(module, "forward", forward)


def _plain_tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    """What modules keep as attributes: tensors that are no buffers, or what a forward left behind, with its history."""
    for module in model.modules():
        yield from (value for value in vars(module).values() if isinstance(value, torch.Tensor))


def _on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype, copy=True, memory_format=torch.contiguous_format)


def forget_caches(model: nn.Module) -> nn.Module:
    """Put a module into evaluation mode by way of training mode, which is what clears what it remembers between forwards.

    Some modules keep an indexed parameter from their first forward in evaluation mode; exported, the memory would replace the
    parameter, and every later version would answer with the first one's.
    """
    return model.train().eval()
