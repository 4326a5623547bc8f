"""What each framework knows about its own models.

An adapter says whether a model is one of its framework's, without importing what isn't there, and describes it. The first that
recognises a model is used; a plain `nn.Module` comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import nn

from exportweb.card import ImageInput, Output
from exportweb.exporters.image_model import ImageModel


class Description(NamedTuple):
    """What an adapter says about a model: `labels` is None where the framework has no names for the classes.

    The rest is what becomes of the model, by default a classifier's. `wrap` makes of it, and of how its images are prepared, the module
    that is exported, which answers with a tensor, or a tuple of them, in the order of `outputs`; roles say what they are, and with that
    how two answers are compared (see `exportweb.exporters.golden`). `batch` says whether it takes several images at once, `sample` of
    what (height, width) those are that it is tried on, if `input` leaves that open. `tracer` is which of PyTorch's exporters can do it:
    ``"dynamo"``, or ``"torchscript"`` where the shapes of answers depend on what is in an image; `fallback` whether a model whose ONNX
    graph can't be had, or doesn't follow its weights, may become TorchScript. `card` holds further fields of the card.
    """

    framework: str
    architecture: str
    input: ImageInput
    labels: tuple[str, ...] | None
    packages: tuple[str, ...]
    task: str = "image-classification"
    outputs: tuple[Output, ...] = (Output(name="logits", role="logits"),)
    wrap: Callable[[nn.Module, ImageInput], ImageModel] = ImageModel
    batch: bool = True
    sample: tuple[int, int] | None = None
    tracer: Literal["dynamo", "torchscript"] = "dynamo"
    fallback: bool = False
    card: Mapping[str, object] = {}


class Hints(NamedTuple):
    """What the user said about the input; None where nothing was said."""

    example: torch.Tensor | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class Adapter(Protocol):
    """One framework."""

    def recognises(self, model: nn.Module) -> bool:
        """Whether the model is one of this framework's."""

    def architecture(self, model: nn.Module) -> str:
        """What the framework calls the model."""

    def describe(self, model: nn.Module, hints: Hints) -> Description:
        """Describe the model; raise `ExportError` with what is missing if it can't be."""


def adapter(model: nn.Module) -> Adapter:
    """Return the first adapter that recognises a model."""
    return next(each for each in adapters() if each.recognises(model))


def adapters() -> Sequence[Adapter]:
    """Return the adapters, in the order in which they are asked."""
    from exportweb.exporters import (
        detectron2_models,
        timm_models,
        torch_modules,
        torchvision_detectors,
        torchvision_models,
        torchvision_segmenters,
        transformers_detectors,
        transformers_models,
        transformers_segmenters,
    )

    return (
        timm_models,
        detectron2_models,
        torchvision_detectors,
        torchvision_segmenters,
        torchvision_models,
        transformers_detectors,
        transformers_segmenters,
        transformers_models,
        torch_modules,
    )


def describe(model: nn.Module, hints: Hints) -> Description:
    """Describe a model by the first adapter that recognises it."""
    return adapter(model).describe(model, hints)


def modules_of(model: nn.Module) -> list[str]:
    """Return the names of the Python modules that define a model's class and those it derives from, nearest first."""
    return list(dict.fromkeys(kind.__module__ for kind in type(model).__mro__))
