"""What one of transformers' image processors does, as data, found by asking it.

Each family has a processor of its own, whose settings mean something else (a size is a square here, a shortest edge there, and a crop
follows or doesn't). So the processor is shown pictures: plain ones tell its mean, its std and the order of its colours, and one with
edges tells which resize it does. Its settings only say what to try first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from exportweb.card import ImageInput
from exportweb.errors import ExportError
from exportweb.runtime.frame import resized_size
from exportweb.runtime.preprocess import Preprocess

SAME = 3.0  # levels of 255: what Pillow and torchvision, which some processors resize with, may differ by

Pixels = npt.NDArray[np.float32]


def image_input(processor: Any, *, any_size: bool = False) -> tuple[ImageInput, float]:
    """Describe how a processor prepares a picture; return also by how many levels of 255, at most, the description is off.

    With `any_size` it may be one that fits the edges of pictures between two limits, as DETR's do.

    Where the margins of the crop are not even, some processors leave the larger one at the right or the bottom, others (torchvision's
    transforms, and exportweb) at the side that is even: the crop may lie one pixel beside, which does not count here.

    Raises `ExportError` if its output is no [1, channels, height, width] with 1 or 3 channels whose size is always the same.
    """
    black, white, red = (ask(processor, Image.new("RGB", (96, 64), colour)) for colour in ("black", "white", "red"))
    picture = _picture(280, 200)  # of other proportions
    wanted = ask(processor, picture)
    fits = _limits(processor) if any_size and black.shape != wanted.shape else None
    if (black.shape != wanted.shape and fits is None) or len(wanted) not in (1, 3):
        raise ExportError(
            f"{type(processor).__name__} makes {list(black.shape)} of one picture and {list(wanted.shape)} of another; exportweb serves "
            "models whose images are all of one size, with 1 or 3 channels. Show an example: example=images."
        )
    _, height, width = wanted.shape
    low, high, lit = (array[:, array.shape[1] // 2, array.shape[2] // 2].astype(np.float64) for array in (black, white, red))
    colour = "L" if len(wanted) == 1 else "BGR" if abs(lit - low).argmax() == 2 else "RGB"
    mean, std = _declared(processor, low, high)
    best, worst = None, np.inf
    for candidate in _candidates(processor, height, width) if fits is None else [fits]:
        candidate = msgspec.structs.replace(candidate, color=colour, mean=mean, std=std)
        pixels = Preprocess(candidate)(picture).transpose(2, 0, 1) / 255.0
        off = 255 * _difference(pixels, (wanted - low[:, None, None]) / (high - low)[:, None, None])
        if off < worst:
            best, worst = candidate, off
        if worst <= SAME:
            break
    assert best is not None
    return best, worst


def _limits(processor: Any) -> ImageInput | None:
    """Describe a processor that brings the shortest edge to a size, unless the longest becomes too long; None for any other."""
    size = dict(getattr(processor, "size", None) or {})
    if not size.get("shortest_edge"):
        return None
    edge, most = int(size["shortest_edge"]), int(size.get("longest_edge") or 0)
    image = _blank(processor, 0, 0, resize="shortest", resize_height=edge, resize_width=edge, resize_max=most)
    for width, height in ((280, 200), (123, 333), (64, 64)):
        if ask(processor, Image.new("RGB", (width, height))).shape[:0:-1] != resized_size(image, width, height):
            return None
    return image


def scaled(processor: Any, height: int, width: int) -> Any:
    """Return a processor of the same class and settings whose images come out this large, all its sizes being scaled alike."""
    settings = {key: value for key, value in processor.to_dict().items() if not key.endswith(("processor_type", "processor_class"))}
    _, made_height, made_width = ask(processor, Image.new("RGB", (96, 64))).shape
    sizes: dict[str, dict[str, int]] = {}
    for key in ("size", "crop_size"):
        value = settings.get(key)
        if isinstance(value, dict):
            sizes[key] = {
                name: round(side * (width / made_width if name == "width" else height / made_height)) for name, side in value.items()
            }
    return type(processor)(**{**settings, **sizes})


def ask(processor: Any, picture: Image.Image) -> Pixels:
    """Return what a processor makes of one picture: [channels, height, width]."""
    pixels: Pixels = np.asarray(processor(picture, return_tensors="pt")["pixel_values"][0], dtype=np.float32)
    if pixels.ndim != 3:
        raise ExportError(
            f"{type(processor).__name__} makes an array of shape {list(pixels.shape)} of a picture; expected [channels, height, width]."
        )
    return pixels


def _difference(got: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    """Return the largest difference inside a border of one pixel, wherever within that border `got` lies."""
    inside = wanted[:, 1:-1, 1:-1]
    shifts = [(y, x) for y in (1, 0, 2) for x in (1, 0, 2)]
    return float(min(np.abs(got[:, y : y + inside.shape[1], x : x + inside.shape[2]] - inside).max() for y, x in shifts))


def _picture(width: int, height: int) -> Image.Image:
    """Squares of random colours."""
    small = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)


def _declared(processor: Any, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and std by which black became `low` and white became `high`: the declared ones, if those do so."""
    mean, std = 0.0 - low / (high - low), 1 / (high - low)
    for values, key in ((mean, "image_mean"), (std, "image_std")):
        declared = getattr(processor, key, None)
        if declared is not None and np.shape(declared) == values.shape and np.allclose(declared, values, rtol=0, atol=1e-5):
            values[:] = declared
    return tuple(mean.round(7).tolist()), tuple(std.round(7).tolist())


def _candidates(processor: Any, height: int, width: int) -> Iterator[ImageInput]:
    """Yield the ways to `height` x `width`: what the settings suggest, then every resize up to twice that size."""
    size = dict(getattr(processor, "size", None) or {})
    edge, percent = size.get("shortest_edge"), getattr(processor, "crop_pct", None)
    short = min(height, width)
    first = [edge and int(edge / percent) if percent else edge, edge]
    blank = _blank(processor, height, width, resize_height=height, resize_width=width)
    if edge is None:
        exact = {"resize_height": size.get("height", height), "resize_width": size.get("width", width)}
        yield msgspec.structs.replace(blank, resize="exact", **exact)
    for side in (*filter(None, first), *range(short, 2 * short)):
        yield msgspec.structs.replace(blank, resize="shortest", resize_height=side, resize_width=side)
    for side in range(short, 2 * short):
        tall = round(side * height / short), round(side * width / short)
        yield msgspec.structs.replace(blank, resize="exact", resize_height=tall[0], resize_width=tall[1])
    yield msgspec.structs.replace(blank, resize="none")


def _blank(processor: Any, height: int, width: int, **fields: Any) -> ImageInput:
    """Return an input of this size that is resized by a processor's own interpolation, and isn't normalised."""
    resample = getattr(processor, "resample", None)
    interpolation: Any = Image.Resampling(2 if resample is None else int(resample)).name.lower()
    return ImageInput(height=height, width=width, interpolation=interpolation, mean=(0.0,) * 3, std=(1.0,) * 3, **fields)
