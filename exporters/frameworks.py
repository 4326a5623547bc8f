"""What each framework knows about its own models.

An adapter says whether a model is one of its framework's, without importing what isn't there, and describes it. The first that
recognises a model is used; a plain `nn.Module` comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import nn

from exportweb.card import ImageInput


class Description(NamedTuple):
    """What an adapter says about a model: `labels` is None where the framework has no names for the classes."""

    framework: str
    architecture: str
    input: ImageInput
    labels: tuple[str, ...] | None
    packages: tuple[str, ...]


class Hints(NamedTuple):
    """What the user said about the input; None where nothing was said."""

    example: torch.Tensor | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class Adapter(Protocol):
    """One framework."""

    def recognises(self, model: nn.Module) -> bool:
        """Whether the model is one of this framework's."""

    def describe(self, model: nn.Module, hints: Hints) -> Description:
        """Describe the model; raise `ExportError` with what is missing if it can't be."""


def describe(model: nn.Module, hints: Hints) -> Description:
    """Describe a model by the first adapter that recognises it."""
    from exportweb.exporters import timm_models, torch_modules

    adapters: Sequence[Adapter] = (timm_models, torch_modules)
    return next(adapter for adapter in adapters if adapter.recognises(model)).describe(model, hints)
