"""Models whose weights are spread over processes (FSDP, tensor parallel): put together in one of them."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from exportweb.errors import ExportError

# What FSDP leaves in the modules that it manages.
_MARKS = ("_is_fsdp_managed_module", "_fsdp_use_orig_params")
_STATE = "__composable_api_state_key"


def is_sharded(model: nn.Module) -> bool:
    """Whether a process holds only a part of a model's weights."""
    return any(map(is_fsdp1, model.modules())) or any(map(_is_part, model.parameters()))


def plain_class(module: nn.Module) -> type[nn.Module]:
    """Return the class that a researcher wrote, where `fully_shard` put one of its own before it."""
    kind = type(module)
    return next(base for base in kind.__mro__ if not _fsdp2_made(base)) if _is_fsdp2(module) else kind


@torch.no_grad()
def whole_copy(model: nn.Module, *, here: bool) -> nn.Module | None:
    """Return a copy of a sharded model that is one again, on the CPU; None where it is not wanted `here`, on other ranks than 0.

    Every process that has a part has to call this, at the same point of its training: each gives what it has. Raises `ExportError`
    if the model can't be copied, after all have given.
    """
    with _together(model):
        # In the same order everywhere, one tensor at a time, and before anything that can fail in one process alone.
        memo: dict[int, Any] = {}
        for tensor in (*model.parameters(), *model.buffers()):
            full = _full(tensor) if _is_part(tensor) else tensor.detach()
            if here:
                kept = full.to("cpu", copy=True)
                memo[id(tensor)] = nn.Parameter(kept, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else kept
        if not here:
            return None
        try:
            for module in reversed(list(model.modules())):  # what is inside comes first
                if is_fsdp1(module):
                    memo[id(module)] = copy.deepcopy(module.module, memo)
                elif _is_fsdp2(module):
                    memo[id(module)] = _without_fsdp2(module, memo)
            whole: nn.Module = copy.deepcopy(model, memo)
        except Exception as error:
            raise ExportError(f"{plain_class(model).__name__} is sharded and can't be put together: {error}") from error
    for module in whole.modules():
        for mark in _MARKS:
            vars(module).pop(mark, None)
    return whole


def _without_fsdp2(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Copy a module as the class that it had, without the hooks by which FSDP gathers its weights."""
    kind = plain_class(module)
    plain: nn.Module = kind.__new__(kind)
    memo[id(module)] = plain
    state = {key: value for key, value in vars(module).items() if not key.startswith(_STATE)}
    for hooks in ("_forward_pre_hooks", "_forward_hooks"):
        state[hooks] = OrderedDict((i, hook) for i, hook in state[hooks].items() if not _is_fsdps(hook))
    plain.__setstate__(copy.deepcopy(state, memo))  # type: ignore[no-untyped-call]
    return plain


@contextlib.contextmanager
def _together(model: nn.Module) -> Iterator[None]:
    """Have FSDP's older form put its weights together for a while; the newer can be asked for each."""
    if not any(map(is_fsdp1, model.modules())):
        yield
        return
    from torch.distributed.fsdp import FullyShardedDataParallel

    with FullyShardedDataParallel.summon_full_params(model, writeback=False, rank0_only=True, offload_to_cpu=True):
        yield


def _is_fsdps(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).startswith("torch.distributed")


# A model is only sharded if PyTorch's module for it is imported; asking must not import it.


def _full(part: Any) -> torch.Tensor:
    full: torch.Tensor = part.full_tensor()
    return full


def _is_part(tensor: torch.Tensor) -> Any:
    kind = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)
    return kind is not None and isinstance(tensor, kind)


def is_fsdp1(module: nn.Module) -> bool:
    """Whether a module is `FullyShardedDataParallel`, the older form, which wraps the one that a researcher wrote."""
    kind = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", None)
    return kind is not None and isinstance(module, kind)


def _is_fsdp2(module: nn.Module) -> bool:
    kind = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    return kind is not None and isinstance(module, kind)


def _fsdp2_made(kind: type) -> bool:
    return kind.__module__.startswith("torch.distributed.fsdp")
