"""Plain PyTorch modules: the user shows an example of what the model takes."""

from __future__ import annotations

import torch
from torch import nn

from exportweb.card import ImageInput
from exportweb.errors import ExportError
from exportweb.exporters.frameworks import Description, Hints


def recognises(model: nn.Module) -> bool:
    """Any module will do."""
    return True


def describe(model: nn.Module, hints: Hints) -> Description:
    """Take the image size and channels from the example, the normalisation from `mean` and `std` (by default none: 0 to 1).

    Raises `ExportError` if there is no example, or one that is not of images.
    """
    name = type(model).__name__
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


def image_input(example: torch.Tensor, *, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None) -> ImageInput:
    """Describe images like `example`, [N, C, H, W] or [C, H, W] with 1 or 3 channels, squeezed to that size."""
    shape = tuple(example.shape)
    if len(shape) not in (3, 4) or shape[-3] not in (1, 3) or min(shape[-2:]) < 1:
        raise ExportError(
            f"example should be a batch of images [N, C, H, W] with 1 or 3 channels, or one of them [C, H, W]; it has shape {shape}."
        )
    channels, height, width = shape[-3:]
    mean, std = mean or (0.0,) * channels, std or (1.0,) * channels
    for word, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise ExportError(f"{word} should have {channels} values, one for each channel of the example; it has {len(values)}.")
    return ImageInput(
        height=height,
        width=width,
        color="L" if channels == 1 else "RGB",
        resize="exact",
        resize_height=height,
        resize_width=width,
        interpolation="bilinear",
        mean=mean,
        std=std,
    )
