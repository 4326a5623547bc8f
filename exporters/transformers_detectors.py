"""transformers' detectors: DETR and what descends from it, which answer with as many boxes as they have queries."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import nn

from exportweb.card import ImageInput, Output
from exportweb.exporters import transformers_models
from exportweb.exporters.frameworks import Description, Hints
from exportweb.exporters.image_model import ImageModel, Outputs

_SAMPLE = 128, 160  # pixels of the golden sample: with a stride of 64, too, a few places are left

architecture = transformers_models.architecture


def recognises(model: nn.Module) -> bool:
    """Whether it is a `PreTrainedModel` for object detection that takes nothing but ``pixel_values``."""
    return transformers_models.is_for(model, "ObjectDetection")


def describe(model: nn.Module, hints: Hints) -> Description:
    """Ask the image processor as `transformers_models.describe` does; one that leaves the size open has a graph for images of any size."""
    return Description(
        framework="transformers",
        architecture=architecture(model),
        input=transformers_models.prepared(model, hints, any_size=True),
        labels=transformers_models.labels(model),
        packages=("torch", "transformers"),
        task="object-detection",
        outputs=tuple(Output(name=role, role=role) for role in ("boxes", "scores", "classes")),
        wrap=functools.partial(TransformersDetector, most=_most(model)),
        sample=_SAMPLE,
    )


class TransformersDetector(ImageModel):
    """A detector of transformers' with what its processor's ``post_process_object_detection`` does, but for the threshold.

    Input: uint8 [N, height, width, channels]. Output: boxes float32 [N, D, 4] (x0, y0, x1, y1 in pixels of the input), scores float32
    [N, D], classes int64 [N, D]. A model that scores one class more than it has labels means that there is nothing by it, and gives each
    query its best class by softmax; any other scores each class by itself, and the best `most` scores of all queries count.
    """

    def __init__(self, model: nn.Module, image: ImageInput, *, most: int | None) -> None:
        super().__init__(model, image)
        self.most = most
        self.labels = int(getattr(model.config, "num_labels"))  # noqa: B009  mypy knows no config

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Detect."""
        found: Any = self.model(self.normalised(image))
        logits, placed = found.logits, found.pred_boxes
        queries, columns = logits.shape[1:]
        if columns > self.labels:
            scores, classes = logits.softmax(-1)[..., :-1].max(-1)
        else:
            scores, order = logits.sigmoid().flatten(1).topk(min(self.most or queries, queries * columns), dim=1)
            classes = order % columns
            placed = placed.gather(1, torch.div(order, columns, rounding_mode="floor")[..., None].expand(-1, -1, 4))
        centre, half = placed[..., :2], 0.5 * placed[..., 2:]
        high, wide = image.shape[1:3]
        corners = torch.cat((centre - half, centre + half), dim=-1)
        return (
            torch.stack((corners[..., 0] * wide, corners[..., 1] * high, corners[..., 2] * wide, corners[..., 3] * high), -1),
            scores,
            classes,
        )

    def classes(self, answer: Outputs) -> int:
        """Return how many classes the model has labels for."""
        return self.labels


def _most(model: nn.Module) -> int | None:
    """Return how many detections the processor of the model's family keeps: its `top_k`, or None for as many as there are queries."""
    processor = transformers_models.default(model)
    process = getattr(processor, "post_process_object_detection", None)
    top_k = None if process is None else inspect.signature(process).parameters.get("top_k")
    return None if top_k is None else int(top_k.default)
