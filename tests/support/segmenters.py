"""Segmenters of torchvision's, as small as they can be."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torchvision.models.segmentation import FCN, LRASPP, DeepLabV3
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead


class Body(nn.Module):
    """[N, 3, H, W] to [N, 8, H / 4, W / 4] and [N, 16, H / 8, W / 8]."""

    def __init__(self, low: str, high: str) -> None:
        super().__init__()
        self.names = low, high
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        first = self.first(image)
        return dict(zip(self.names, (first, self.second(first)), strict=True))


def deeplab(classes: int = 4) -> DeepLabV3:
    """A DeepLabV3 with its auxiliary head, which only training uses."""
    torch.manual_seed(0)
    return DeepLabV3(Body("aux", "out"), DeepLabHead(16, classes, (2, 3, 4)), FCNHead(8, classes))


def fcn(classes: int = 4) -> FCN:
    torch.manual_seed(0)
    return FCN(Body("aux", "out"), FCNHead(16, classes))


def lraspp(classes: int = 4) -> LRASPP:
    torch.manual_seed(0)
    return LRASPP(Body("low", "high"), 8, 16, classes, 8)


@torch.no_grad()
def balance(model: nn.Module, image: np.ndarray) -> None:
    """Shift what a segmenter adds last, so that over an image, uint8 [1, H, W, 3], no class is better than another on average."""
    scores = model.eval()(torch.from_numpy(image).permute(0, 3, 1, 2) / 255)["out"]
    list(model.classifier.parameters())[-1].sub_(scores.mean(dim=(0, 2, 3)))
