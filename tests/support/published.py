"""What a store holds, read back, and how a model answers for itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from exportweb import Store, artifact
from exportweb.card import Source
from exportweb.runtime.session import OnnxSession
from models import SIZE

IMAGES = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)


def sources(folder: Path) -> list[Source]:
    """Where the versions in a store came from, oldest first."""
    return [artifact.read(path).card.source for path in Store(folder).versions().values()]


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The initializers of a version."""
    return {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in onnx.load(path).graph.initializer}


def answer(path: Path) -> torch.Tensor:
    """What ONNX Runtime answers to four images with a version."""
    return torch.from_numpy(OnnxSession(path, device="cpu").run({"image": IMAGES})["logits"])


@torch.no_grad()
def evaluate(model: nn.Module) -> torch.Tensor:
    """What a model answers to them in evaluation mode; it is left as it is, without a call of `train()` or `eval()`."""
    images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
    dtype = next(model.parameters()).dtype
    modes = {module: module.training for module in model.modules()}
    for module in modes:
        module.training = False
    try:
        return model(images.to(dtype)).float()
    finally:
        for module, training in modes.items():
            module.training = training
