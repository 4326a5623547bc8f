"""Plain PyTorch modules: the user shows an example of what the model takes."""

from __future__ import annotations

import msgspec
import torch
from torch import nn

from exportweb.card import ImageInput
from exportweb.errors import ExportError
from exportweb.exporters.frameworks import Description, Hints
from exportweb.exporters.sharded import plain_class
from exportweb.exporters.timm_input import per_channel


def recognises(model: nn.Module) -> bool:
    """Any module will do."""
    return True


def architecture(model: nn.Module) -> str:
    """Return the name of its class."""
    return plain_class(model).__name__


def describe(model: nn.Module, hints: Hints) -> Description:
    """Take the image size and channels from the example, the normalisation from `mean` and `std` (by default none: 0 to 1).

    Raises `ExportError` if there is no example, or one that is not of images.
    """
    name = architecture(model)
    if hints.example is None:
        raise ExportError(
            f"{name} doesn't say what images it takes. Show an example, as it comes out of your data loader: "
            "export_hook(model, example=images, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), with the mean and std "
            "that your training transform uses (leave them out if it uses none)."
        )
    return Description(
        framework="torch",
        architecture=name,
        input=image_input(hints.example, mean=hints.mean, std=hints.std),
        labels=None,
        packages=("torch",),
    )


def overrule(image: ImageInput, hints: Hints) -> ImageInput:
    """Put what the user said in the place of what a framework says: the size of the example, and the mean and std.

    Raises `ExportError` if they don't fit the model's channels.
    """
    mean, std = hints.mean or image.mean, hints.std or image.std
    if hints.example is not None:
        image = image_input(hints.example)
    mean, std = per_channel(mean, image.channels, "mean"), per_channel(std, image.channels, "std")
    return msgspec.structs.replace(image, mean=mean, std=std)


def channels(model: nn.Module) -> int:
    """Return how many channels a model's images have: those of its first convolution. Raises `ExportError` for other than 1 and 3."""
    count = next((layer.in_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)), 3)
    if count not in (1, 3):
        raise ExportError(f"The model takes {count} channels; pictures have 3 (RGB) or 1 (grey).")
    return count


def image_input(example: torch.Tensor, *, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None) -> ImageInput:
    """Describe images like `example`, [N, C, H, W] or [C, H, W] with 1 or 3 channels, squeezed to that size."""
    shape = tuple(example.shape)
    if len(shape) not in (3, 4) or shape[-3] not in (1, 3) or min(shape[-2:]) < 1:
        raise ExportError(
            f"example should be a batch of images [N, C, H, W] with 1 or 3 channels, or one of them [C, H, W]; it has shape {shape}."
        )
    channels, height, width = shape[-3:]
    return ImageInput(
        height=height,
        width=width,
        color="L" if channels == 1 else "RGB",
        resize="exact",
        resize_height=height,
        resize_width=width,
        interpolation="bilinear",
        mean=per_channel(mean or (0.0,), channels, "mean"),
        std=per_channel(std or (1.0,), channels, "std"),
    )
