"""A small classifier, really trained on scikit-learn's handwritten digits, and the images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from exportweb.exporters.single import export

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SIDE = 16
TRAINED_ON = 1400


def make_model() -> nn.Sequential:
    """[N, 1, 16, 16] to [N, 10], from the same random weights each time."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 4, 10))


class Digits:
    """The trained model, its fp32 artifact, images it was trained on in folders by class, and others as files."""

    def __init__(self, folder: Path) -> None:
        data = load_digits()
        self.pictures = [Image.fromarray((image * (255 / 16)).astype("uint8")) for image in data.images]
        self.names = [NAMES[target] for target in data.target]
        self.model = make_model()
        self._train(torch.from_numpy(data.target))
        self.artifact = export(self.model, folder / "digits.onnx", labels=NAMES, example=torch.zeros(1, 1, SIDE, SIDE))
        self.calibration = folder / "images"
        for i in range(150):
            (self.calibration / self.names[i]).mkdir(parents=True, exist_ok=True)
            self.pictures[i].save(self.calibration / self.names[i] / f"{i}.png")

    def held_out(self) -> list[tuple[bytes, str]]:
        """Images that the model hasn't seen, as the bytes of files, and what they show."""
        return [(_png(picture), name) for picture, name in zip(self.pictures[TRAINED_ON:], self.names[TRAINED_ON:], strict=True)]

    def _train(self, targets: torch.Tensor) -> None:
        resized = [np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for picture in self.pictures[:TRAINED_ON]]
        images = torch.from_numpy(np.stack(resized))[:, None] / 255
        optimizer = torch.optim.AdamW(self.model.parameters(), 5e-3)
        for _ in range(6):
            for batch in torch.randperm(TRAINED_ON).split(64):
                loss = F.cross_entropy(self.model(images[batch]), targets[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self.model.eval()


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
