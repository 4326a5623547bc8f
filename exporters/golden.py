"""The golden sample: an image whose answer the training framework computed itself, so that anyone can check a version."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from exportweb.card import Golden, ImageInput
from exportweb.exporters.unwrap import forget_caches
from exportweb.runtime.tensors import encode

TOLERANCE = 1e-3
_BLOCKS = 12


def mosaic(image: ImageInput, *, batch: int = 1) -> np.ndarray:
    """Return uint8 [batch, height, width, channels]: squares of random colours, the same on every call.

    Squares have edges, colours and contrast, as photos do, and compress to next to nothing inside the card.
    """
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (batch, _BLOCKS, _BLOCKS, image.channels), dtype=np.uint8)
    rows = np.arange(image.height) * _BLOCKS // image.height
    columns = np.arange(image.width) * _BLOCKS // image.width
    return np.ascontiguousarray(small[:, rows][:, :, columns])


@torch.no_grad()
def eager(twin: nn.Module, image: np.ndarray) -> np.ndarray:
    """Return what PyTorch answers: float32 [N, classes]."""
    answer: np.ndarray = forget_caches(twin)(torch.from_numpy(image)).to(torch.float32).numpy()
    return answer


def golden(image: np.ndarray, logits: np.ndarray, *, tolerance: float = TOLERANCE) -> Golden:
    """Pack an input batch and its output for the card."""
    return Golden(inputs={"image": encode(image)}, outputs={"logits": encode(logits)}, tolerance=tolerance)


def difference(got: np.ndarray, expected: np.ndarray) -> float:
    """Return ``max|got - expected| / max(1, max|expected|)``, infinity where the shapes differ or a value isn't finite."""
    if got.shape != expected.shape or not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float("inf")
    return float(np.abs(got - expected).max(initial=0) / max(1.0, np.abs(expected).max(initial=0)))
