"""timm's evaluation transform, as data: from a data config to the card's `ImageInput`.

Follows `timm.data.create_transform(**config, is_training=False)`; the tests hold the two equal, bit for bit, for every
configuration that timm publishes. Needs neither timm nor PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from exportweb.card import ImageInput, Interpolation
from exportweb.errors import ExportError

# timm.data.constants
_CROP_PCT = 0.875
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def image_input(
    config: Mapping[str, Any], *, size: tuple[int, int] | None = None, channels: int | None = None, name: str = "image"
) -> ImageInput:
    """Return what a data config, as from `timm.data.resolve_model_data_config(model)`, says about the input.

    The config describes the pretrained weights: pass `size` (height, width in pixels) and `channels` where the model
    was made with another ``img_size`` or ``in_chans``. With one channel the picture is grey, and `mean` and `std` of
    three colours are averaged.

    Raises `ExportError` for what no picture can be prepared for: other than 1 or 3 channels, an unknown interpolation
    or crop mode.
    """
    planes, height, width = _input_size(config.get("input_size", 224))
    height, width = size or (height, width)
    channels = channels or planes
    if channels not in (1, 3):
        raise ExportError(f"The model takes {channels} channels; pictures have 3 (RGB) or 1 (grey).")
    interpolation: Any = config.get("interpolation") or "bicubic"
    if interpolation not in get_args(Interpolation):
        raise ExportError(f"Unknown interpolation {interpolation!r}; known are {', '.join(get_args(Interpolation))}.")
    mean = per_channel(config.get("mean") or _MEAN, channels, "mean")
    std = per_channel(config.get("std") or _STD, channels, "std")
    crop_pct = config.get("crop_pct") or _CROP_PCT
    resize_height, resize_width = math.floor(height / crop_pct), math.floor(width / crop_pct)
    mode = config.get("crop_mode") or "center"
    resize: Literal["shortest", "cover", "contain", "exact"]
    if mode == "center":
        resize = "shortest" if resize_height == resize_width else "cover"
    elif mode == "squash":
        resize = "exact"
    elif mode == "border":
        resize = "contain"
    else:
        raise ExportError(f"Unknown crop mode {mode!r}; known are 'center', 'squash' and 'border'.")
    return ImageInput(
        name=name,
        height=height,
        width=width,
        color="L" if channels == 1 else "RGB",
        resize=resize,
        resize_height=resize_height,
        resize_width=resize_width,
        interpolation=interpolation,
        fill=tuple(round(255 * value) for value in mean) if mode == "border" else (0,),
        mean=mean,
        std=std,
    )


def _input_size(value: int | Sequence[int]) -> tuple[int, int, int]:
    """Read a size as timm writes it: a side, (height, width), or (channels, height, width)."""
    sizes = (value,) if isinstance(value, int) else tuple(value)
    if len(sizes) == 1:
        sizes *= 2
    if len(sizes) == 2:
        sizes = (3, *sizes)
    if len(sizes) != 3 or min(sizes) < 1:
        raise ExportError(f"The input size {value!r} is not a side, (height, width) or (channels, height, width).")
    return sizes[0], sizes[1], sizes[2]


def per_channel(value: Sequence[float], channels: int, key: str) -> tuple[float, ...]:
    """Give one value to each channel: repeated for all, or averaged for grey. Raises `ExportError` if their number fits neither."""
    values = tuple(float(v) for v in value)
    if len(values) == channels:
        return values
    if len(values) == 1:
        return values * channels
    if channels == 1:
        return (sum(values) / len(values),)
    raise ExportError(f"The model takes {channels} channels but {key} has {len(values)} values: {values}.")
