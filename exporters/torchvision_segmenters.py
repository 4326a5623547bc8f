"""torchvision's segmenters: DeepLabV3, FCN and LR-ASPP, which score the class of each pixel of images of any size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from exportweb.card import ImageInput, Output
from exportweb.exporters import checkpoints, torch_modules, torchvision_models
from exportweb.exporters.frameworks import Description, Hints, modules_of
from exportweb.exporters.image_model import Segmenter
from exportweb.exporters.timm_input import per_channel

_MODULE = "torchvision.models.segmentation"
_SAMPLE = 32, 48  # pixels of the golden sample: its answer, a number for each class and pixel, travels in the card


def recognises(model: nn.Module) -> bool:
    """Whether the class, or one that it derives from, is one of torchvision's segmenters."""
    return any(name.startswith(f"{_MODULE}.") for name in modules_of(model)) and hasattr(model, "classifier")


def architecture(model: nn.Module) -> str:
    """Return the name of the builder that makes such a model, or of its class if none does."""
    return torchvision_models.builder(model, _MODULE) or torch_modules.architecture(model)


def describe(model: nn.Module, hints: Hints) -> Description:
    """Take the transform that belongs to the builder's default weights, or else to FCN's; an example or mean and std overrule it.

    The graph takes images of any size: an example says which size they are squeezed to before it.
    """
    image = torch_modules.overrule(_image(model), hints)
    return Description(
        framework="torchvision",
        architecture=architecture(model),
        input=msgspec.structs.replace(image, height=0, width=0),
        labels=None,
        packages=("torch", "torchvision"),
        task="semantic-segmentation",
        outputs=(Output(name="semantic", role="semantic"),),
        wrap=Segmenter,
        sample=_SAMPLE,
    )


def create(name: str, *, classes: int | None, checkpoint: Path | None, pretrained: bool) -> tuple[nn.Module, list[str] | None]:
    """Make a torchvision segmenter by the name of its builder; return it with the names of its classes if it is pretrained.

    `classes` is how many it tells apart, with the background, which is one like any other; None for as many as the checkpoint has, or the
    21 of Pascal VOC. Raises `ExportError` as `torchvision_models.create` does.
    """
    if checkpoint is None:
        return torchvision_models.make(name, classes=classes, pretrained=pretrained)
    state = checkpoints.load(checkpoint)
    auxiliary: dict[str, Any] = {"aux_loss": True} if any(key.startswith("aux_classifier.") for key in state) else {}
    model, _ = torchvision_models.make(name, classes=classes or _classes(state), pretrained=False, **auxiliary)
    checkpoints.put(state, model, name=name, path=checkpoint)
    return model, None


def _classes(state: Mapping[str, torch.Tensor]) -> int | None:
    """Return how many classes the weights of a segmenter tell apart: the length of its classifier's last bias."""
    biases = [tensor for key, tensor in state.items() if key.startswith("classifier.") and key.endswith(".bias")]
    return len(biases[-1]) if biases else None


def _image(model: nn.Module) -> ImageInput:
    """Return the preset of the builder's weights."""
    from torchvision import models

    preset: Any = models.get_model_weights(torchvision_models.builder(model, _MODULE) or "fcn_resnet50").DEFAULT.transforms()
    (edge,) = preset.resize_size
    channels = torch_modules.channels(model)
    return ImageInput(
        height=0,
        width=0,
        color="L" if channels == 1 else "RGB",
        resize="shortest",
        resize_height=edge,
        resize_width=edge,
        interpolation=preset.interpolation.value,
        mean=per_channel(tuple(preset.mean), channels, "mean"),
        std=per_channel(tuple(preset.std), channels, "std"),
    )
