from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from exportweb.exporters.graph import export_graph


class Pooled(nn.Module):
    """Averages over parts of an image, added up."""

    def __init__(self, *sizes: int | tuple[int, int]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, image):
        image = image.permute(0, 3, 1, 2).float() / 255
        torch._check_tensor_all(image.amax(dim=(1, 2, 3)) <= 1)
        return torch.stack([nn.functional.adaptive_avg_pool2d(image, size).sum(dim=(2, 3)) for size in self.sizes])


@pytest.fixture(scope="module")
def pooled():
    """A module that checks its input and pools it, and its graph for images of any size, traced with one that some parts divide."""
    model = Pooled(1, 2, (3, 6)).eval()
    return model, onnxruntime.InferenceSession(export_graph(model, images(12, 9, batch=2), [], free=(0, 1, 2)).whole)


def images(high, wide, *, batch):
    return torch.from_numpy(np.random.default_rng(high).integers(0, 256, (batch, high, wide, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(12, 9), (7, 13), (6, 6), (2, 3), (100, 61)])
def test_images_of_any_size_are_averaged_over_parts_as_pytorch_does(pooled, size):
    model, session = pooled
    image = images(*size, batch=3)
    (got,) = session.run(None, {"image": image.numpy()})
    assert got == pytest.approx(model(image).numpy(), rel=1e-5)
