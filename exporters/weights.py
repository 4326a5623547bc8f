"""The weights of a live model by name, and copies of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import torch
from torch import nn

# As what a module is inside one that wraps it: `torch.compile`, activation checkpointing.
WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module")


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
        for full_name, tensor in _named_tensors(model):
            name = plain_name(full_name)
            if id(tensor) not in index:
                index[id(tensor)] = len(self.tensors)
                self.tensors.append(tensor)
            self.names[name] = index[id(tensor)]
        self._layout = [(name, i, self.tensors[i].shape, self.tensors[i].dtype) for name, i in self.names.items()]
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
        return self._layout


class Snapshot:
    """Memory for one copy of a model's weights: float32 (or integer) on the CPU, pinned where the model is on a CUDA device.

    It is made beforehand, so that copying allocates no memory of the host and touches no new page.
    """

    def __init__(self, weights: Weights) -> None:
        cuda = any(t.is_cuda for t in weights.tensors)
        self.tensors = [
            torch.zeros(t.shape, dtype=torch.float32 if t.is_floating_point() else t.dtype, pin_memory=cuda) for t in weights.tensors
        ]
        self._pinned = cuda
        self._copies: list[torch.cuda.Event] = []

    @torch.no_grad()
    def take(self, weights: Weights) -> None:
        """Copy the weights in, as they are now: whatever the caller does to them next comes too late.

        On CUDA the weights are copied within the GPU first, in the current stream and at the speed of its memory. From there they come
        in a stream of their own, beside the training, which may change the weights again at once.
        """
        devices = {t.device for t in weights.tensors if t.is_cuda} if self._pinned else set()
        if not devices:
            torch._foreach_copy_(self.tensors, weights.tensors)
            return
        self.wait()  # for a copy that was taken and is not wanted any more
        self._copies = [self._fetch(weights, device) for device in devices]
        for mine, theirs in zip(self.tensors, weights.tensors, strict=True):
            if not theirs.is_cuda:
                mine.copy_(theirs)

    def _fetch(self, weights: Weights, device: torch.device) -> torch.cuda.Event:
        """Start copying the weights that are on one GPU; return what happens when they have arrived."""
        pairs = [(mine, theirs) for mine, theirs in zip(self.tensors, weights.tensors, strict=True) if theirs.device == device]
        staged = [theirs.to(mine.dtype, copy=True, memory_format=torch.contiguous_format) for mine, theirs in pairs]
        stream = _stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for (mine, _), tensor in zip(pairs, staged, strict=True):
                mine.copy_(tensor, non_blocking=True)
                tensor.record_stream(stream)  # or its memory could be given away before it is read
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(stream)
        return arrived

    def wait(self) -> None:
        """Wait until the copy has arrived."""
        for arrived in self._copies:
            arrived.synchronize()

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


def plain_name(name: str) -> str:
    """Return a name in a model as it is without wrappers around single modules."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


@functools.lru_cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream in which weights come from a GPU: one for all snapshots."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
