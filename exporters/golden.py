"""The golden sample: an image whose answer the training framework computed itself, so that anyone can check a version."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from exportweb.card import ROLES, UNSAMPLED, Golden, ImageInput
from exportweb.exporters.image_model import Outputs
from exportweb.exporters.unwrap import forget_caches
from exportweb.runtime import matching
from exportweb.runtime.tensors import encode

TOLERANCE = 1e-3
_BLOCKS = 12
_FOLLOWS = 0.01


def mosaic(image: ImageInput, *, batch: int = 1, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return uint8 [batch, height, width, channels]: squares of random colours, the same on every call.

    Squares have edges, colours and contrast, as photos do, and compress to next to nothing inside the card. `size` is (height, width),
    in pixels, where it isn't that of `image`.
    """
    high, wide = size or (image.height, image.width)
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (batch, _BLOCKS, _BLOCKS, image.channels), dtype=np.uint8)
    rows = np.arange(high) * _BLOCKS // high
    columns = np.arange(wide) * _BLOCKS // wide
    return np.ascontiguousarray(small[:, rows][:, :, columns])


@torch.no_grad()
def eager(twin: nn.Module, image: np.ndarray, outputs: Sequence[str]) -> Outputs:
    """Return what PyTorch answers, by the names of the outputs; floating point is float32."""
    answer = forget_caches(twin)(torch.from_numpy(image))
    answers = answer if isinstance(answer, tuple) else (answer,)
    return {
        name: (tensor.to(torch.float32) if tensor.is_floating_point() else tensor).numpy()
        for name, tensor in zip(outputs, answers, strict=True)
    }


def golden(image: np.ndarray, answer: Outputs, *, tolerance: float = TOLERANCE) -> Golden:
    """Pack an input batch and its outputs for the card, without what is too large for that: a picture for each object."""
    outputs = {name: encode(array) for name, array in answer.items() if name not in UNSAMPLED}
    return Golden(inputs={"image": encode(image)}, outputs=outputs, tolerance=tolerance)


def difference(got: Outputs, expected: Outputs) -> float:
    """Return ``max|got - expected| / max(1, max|expected|)`` of the output where it is largest, infinity where the shapes differ or a
    value isn't finite.
    """
    return max(_difference(got[name], expected[name]) for name in expected)


def disagreement(got: Outputs, expected: Outputs, *, tolerance: float = TOLERANCE) -> str | None:
    """Return by how much more than `tolerance` two answers differ, in words; None if they agree.

    Objects are matched by class and place (see `exportweb.runtime.matching`), since those with nearly the same score come in any order.
    """
    objects = [name for name in expected if name in matching.ROLES and "boxes" in expected]
    sides = [matching.images({name: side[name] for name in objects}, ROLES) for side in (expected, got)] if objects else []
    off = next(filter(None, (matching.difference(want, have, tolerance=tolerance) for want, have in zip(*sides, strict=True))), None)
    rest = {name: array for name, array in expected.items() if name not in objects}
    if off is None and rest and (most := difference(got, rest)) > tolerance:
        off = f"{most:.1e} off"
    return off


def rounding(twin: nn.Module, image: np.ndarray, answer: Outputs) -> float:
    """Return how far an answer of PyTorch's is from what it computes in float64, as `difference` does; 0 where it can't say."""
    try:
        off = difference(answer, eager(copy.deepcopy(twin).double(), image, list(answer)))
    except Exception:  # whatever a model raises that is for float32 alone
        return 0.0
    return off if np.isfinite(off) else 0.0


def near(got: np.ndarray, expected: np.ndarray, other: np.ndarray, *, noise: float) -> bool:
    """Whether an answer is the expected one, however small both are: by a hundredth of how far that is from `other`, an answer to something
    else, or by `noise`, which the order alone in which sums are taken may make, as a part of the largest number.
    """
    if got.shape != expected.shape or not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return False
    apart, scale = np.abs(expected - other).max(), np.abs(expected).max()
    return bool(np.abs(got - expected).max() <= max(_FOLLOWS * apart, noise * scale))


def _difference(got: np.ndarray, expected: np.ndarray) -> float:
    if got.shape != expected.shape or not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float("inf")
    return float(np.abs(got - expected).max(initial=0) / max(1.0, np.abs(expected).max(initial=0)))
