"""What is exported: a model that takes images as they come out of a decoder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from exportweb.card import ImageInput
from exportweb.errors import ExportError

Outputs = Mapping[str, NDArray[Any]]
"""What a model answers, by the names of its outputs, which are those of their roles."""

THRESHOLD = "exportweb_threshold"
"""The name of a detector's threshold in its graph."""

_STEP, _LOWEST = 0.6, 1e-4  # by what it is lowered for a trace; below this to nothing


class ImageModel(nn.Module):
    """A classifier that takes images as they come out of a decoder; other tasks derive from it.

    Input: uint8 [N, height, width, channels]. Output: float32 [N, classes]. The channels are moved first while a pixel is still one
    byte; then ``(x / 255 - mean) / std`` in float32, in the order of torchvision's ToTensor and Normalize, so that every bit is theirs.
    The model's weights lie under ``model.``.
    """

    exportweb_mean: torch.Tensor
    exportweb_std: torch.Tensor

    def __init__(self, model: nn.Module, image: ImageInput) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("exportweb_mean", torch.tensor(image.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("exportweb_std", torch.tensor(image.std).view(1, -1, 1, 1), persistent=False)

    def normalised(self, image: torch.Tensor) -> torch.Tensor:
        """Return what the model itself takes: float32 [N, channels, height, width]."""
        x = image.permute(0, 3, 1, 2).to(torch.float32)
        return (x / 255 - self.exportweb_mean) / self.exportweb_std

    def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Normalise and classify."""
        return logits(self.model(self.normalised(image)))

    def classes(self, answer: Outputs) -> int:
        """Return how many classes the model tells apart, given its answer to two images (to one where it takes no more).

        Raises `ExportError` for an answer that isn't of this task.
        """
        (scores,) = answer.values()
        if scores.ndim != 2 or scores.shape[1] < 1:
            raise ExportError(
                f"A classifier answers with class scores [N, classes]; this model answered {list(scores.shape)} for a batch of 2 images."
            )
        return int(scores.shape[1])


class Segmenter(ImageModel):
    """A model that scores the class of each pixel.

    Input: uint8 [N, height, width, channels]. Output: float32 [N, classes, h, w] of any size over the whole input.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise and score: what a model of torchvision's calls "out", and one of transformers' logits."""
        output = self.model(self.normalised(image))
        return logits(output["out"] if isinstance(output, dict) and "out" in output else output)

    def classes(self, answer: Outputs) -> int:
        """Return how many classes the model tells apart; raise `ExportError` for an answer that isn't of this task."""
        (scores,) = answer.values()
        if scores.ndim != 4 or scores.shape[1] < 1:
            raise ExportError(
                f"A segmenter answers with class scores of pixels [N, classes, h, w]; this model answered {list(scores.shape)} for a batch "
                "of 2 images."
            )
        return int(scores.shape[1])


class Detector(ImageModel):
    """A model that answers with objects, each with a score, and leaves out those below a threshold.

    The threshold, as `threshold` returns it, is in the graph as a value of its own. A trace of an image without any objects would
    lack most of what finds them, and prove nothing: `relaxed` lowers it until there are some.
    """

    exportweb_threshold: torch.Tensor

    def __init__(self, model: nn.Module, image: ImageInput, threshold: float) -> None:
        super().__init__(model, image)
        self.register_buffer("exportweb_threshold", torch.tensor(threshold))

    @contextlib.contextmanager
    def relaxed(self, image: torch.Tensor, *, objects: int = 2) -> Iterator[float]:
        """Lower the threshold, for a while, until at least so many objects are found in an image; yields what it is then."""
        kept = self.exportweb_threshold.clone()
        try:
            with torch.no_grad():
                while len(self(image)[1]) < objects and self.exportweb_threshold > _LOWEST:
                    self.exportweb_threshold.mul_(_STEP)
                if self.exportweb_threshold <= _LOWEST:
                    self.exportweb_threshold.fill_(-1.0)
            yield float(self.exportweb_threshold)
        finally:
            self.exportweb_threshold.copy_(kept)


def logits(output: object) -> torch.Tensor:
    """Return the class scores in what a classifier's forward gave: a tensor, an output with `logits`, or the first of a tuple."""
    output = getattr(output, "logits", output)
    if isinstance(output, dict) and "logits" in output:
        output = output["logits"]
    if isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise ExportError(f"A classifier's forward should return a tensor of class scores; this one returned {type(output).__name__}.")
    return output
