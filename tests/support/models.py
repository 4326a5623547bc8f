"""Small real models and the training that tests put them through."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

SIZE = 16
LABELS = ["circle", "square", "star", "moon"]


class Tiny(nn.Module):
    """A convolution, batch normalisation, dropout and a head: all that behaves differently in training. [N, 3, 16, 16] to [N, 4]."""

    def __init__(self, classes: int = len(LABELS)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(F.relu(self.norm(self.conv(x))).mean((2, 3))))


class Growing(Tiny):
    """Its numbers grow from layer to layer until its normalisations have seen some, and then it makes much of what is rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)) for _ in range(40))
        for block in self.blocks:
            nn.init.normal_(block[0].weight, std=4.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x)).mean((2, 3))
        for block in self.blocks:
            x = x + torch.sin(block(x))
        return self.head(x)


def example() -> torch.Tensor:
    """Images as `Tiny` takes them."""
    return torch.zeros(1, 3, SIZE, SIZE)


def batches(count: int = 3, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of 8 random images and labels."""
    random = torch.Generator().manual_seed(seed)
    return [(torch.rand(8, 3, SIZE, SIZE, generator=random), torch.randint(0, len(LABELS), (8,), generator=random)) for _ in range(count)]


def train_round(model: nn.Module, optimizer: torch.optim.Optimizer, data: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """One pass over the data."""
    for images, labels in data:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
