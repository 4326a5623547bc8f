"""TorchScript artifacts whose answers are obvious: the colour classifier of `serving`, made with PyTorch."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from exportweb import Store, archive
from exportweb.exporters.script import ScriptTemplate
from serving import SIDE, Artifacts


class Colours(nn.Module):
    """Logits are `scale` times the mean of each channel; `count` is a buffer of integers that says nothing."""

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale), requires_grad=False)
        self.register_buffer("count", torch.tensor([3, 4]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.to(torch.float32).mean((1, 2)) * self.scale / 255


def traced(module: nn.Module, image: torch.Tensor | None = None) -> torch.jit.ScriptModule:
    """Trace a module."""
    image = torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8) if image is None else image
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        return torch.jit.trace(module.eval(), image, check_trace=False)


def script(scale: float = 10.0, *, module: nn.Module | None = None, **card: Any) -> bytes:
    """Return an artifact as bytes; of another module, one that answers as this one would."""
    file = io.BytesIO()
    template = ScriptTemplate(traced(module or Colours(scale)), {})
    writer = archive.Writer(file)
    for name, data in template.fill([]):
        writer.add(name, data)
    writer.finish(Artifacts().card(scale=scale, **card).replace(digest=writer.digest))
    return file.getvalue()


def publish_script(store: Store, scale: float = 10.0, **card: Any) -> int:
    """Publish an artifact; return its version."""
    return store.publish(lambda file, number: file.write(script(scale, version=number, **card)), suffix=".torchscript")


def write_script(path: Path, scale: float = 10.0, **card: Any) -> Path:
    """Write an artifact to a file."""
    path.write_bytes(script(scale, **card))
    return path
