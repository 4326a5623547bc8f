"""The weights of a live model by name, and copies of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn


class Weights:
    """The parameters and buffers of a module, each storage once, under all names that it goes by.

    Tied weights are one tensor with several names: `names` maps each name to its index in `tensors`. The walk over the modules is done
    once; `changed` afterwards only compares identities, so that asking costs microseconds.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.names: dict[str, int] = {}
        self.tensors: list[torch.Tensor] = []
        index: dict[int, int] = {}
        for name, tensor in _named_tensors(model):
            if id(tensor) not in index:
                index[id(tensor)] = len(self.tensors)
                self.tensors.append(tensor)
            self.names[name] = index[id(tensor)]
        self._slots = [
            (table, dict(table)) for module in model.modules() for table in (module._parameters, module._buffers, module._modules)
        ]

    def refreshed(self) -> Weights:
        """Return the weights as they are now: these, or a new walk if a tensor or a module was replaced."""
        for table, seen in self._slots:
            if len(table) != len(seen) or any(table.get(key) is not value for key, value in seen.items()):
                return Weights(self.model)
        return self

    def layout(self) -> list[tuple[str, int, torch.Size, torch.dtype]]:
        """Return what must stay the same for a graph to stay valid: names, ties, shapes and dtypes."""
        return [(n, i, self.tensors[i].shape, self.tensors[i].dtype) for n, i in self.names.items()]


class Snapshot:
    """Memory for one copy of a model's weights: float32 (or integer) on the CPU, pinned where the model is on a CUDA device.

    It is made beforehand, so that copying allocates nothing and touches no new page.
    """

    def __init__(self, weights: Weights) -> None:
        cuda = any(t.is_cuda for t in weights.tensors)
        self.tensors = [
            torch.zeros(t.shape, dtype=torch.float32 if t.is_floating_point() else t.dtype, pin_memory=cuda) for t in weights.tensors
        ]
        self._copied = torch.cuda.Event() if cuda else None  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def take(self, weights: Weights) -> None:
        """Copy the weights in. On CUDA the copy is queued on the current stream, before any later change to the weights."""
        torch._foreach_copy_(self.tensors, weights.tensors, non_blocking=self._copied is not None)
        if self._copied is not None:
            self._copied.record()

    def wait(self) -> None:
        """Wait until the copy has arrived."""
        if self._copied is not None:
            self._copied.synchronize()

    def lend(self, twin: Weights, names: Mapping[str, int]) -> None:
        """Let another module use this memory as its weights; `names` says which tensor is whose."""
        for name, i in names.items():
            twin.tensors[twin.names[name]].data = self.tensors[i]

    def not_finite(self, names: Mapping[str, int]) -> str | None:
        """Return the first of these names whose tensor holds NaN or infinity, if there is one."""
        for name, i in names.items():
            tensor = self.tensors[i]
            # A finite sum has finite terms, and is quick to have; one that isn't may merely have overflowed.
            if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all():
                return name
        return None


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)
