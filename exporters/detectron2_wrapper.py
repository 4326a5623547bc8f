"""detectron2's models as modules of tensors alone: an image in, what the heads found in it out, in pixels of that image."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from exportweb.card import ImageInput
from exportweb.exporters.image_model import Detector, ImageModel, Outputs


class Detectron2Detector(Detector):
    """An R-CNN of detectron2's, a panoptic one, or one of its dense detectors, with its own normalisation and padding.

    Input: uint8 [1, height, width, 3] of any size, in the order of channels that the model takes. Output, as `roles` say: boxes float32
    [D, 4] (x0, y0, x1, y1 in pixels of the input), scores float32 [D], classes int64 [D]; masks float32 [D, M, M], probabilities inside
    the boxes; keypoint heatmaps float32 [D, K, S, S], logits inside the boxes; semantic float32 [C, height, width], logits.
    """

    def __init__(self, model: nn.Module, image: ImageInput, *, roles: tuple[str, ...]) -> None:
        holder = _judge(model)
        super().__init__(model, image, float(holder.test_score_thresh))
        holder.test_score_thresh = self.exportweb_threshold
        self.roles = roles
        if "keypoint-heatmaps" in roles:
            heads: Any = model.roi_heads
            head = heads.keypoint_head
            head.__class__ = type(type(head).__name__, (_Heatmaps, type(head)), {})

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Detect."""
        with _traceable():
            found, semantic = _run(self.model, image)
            answer = [found.pred_boxes.tensor, found.scores, found.pred_classes]
            if "masks" in self.roles:
                answer.append(found.pred_masks[:, 0])
            if "keypoint-heatmaps" in self.roles:
                answer.append(found.heatmaps)
            if semantic is not None:
                answer.append(_cropped(semantic, image))
            return tuple(answer)

    def classes(self, answer: Outputs) -> int:
        """Return how many classes of things the model tells apart."""
        holder: Any = getattr(self.model, "roi_heads", self.model)
        return int(holder.num_classes)


class Detectron2Proposals(ImageModel):
    """A network that proposes boxes and doesn't tell classes apart.

    Input: that of `Detectron2Detector`. Output: boxes float32 [D, 4], scores float32 [D], from 0 to 1: the sigmoids of the logits that
    detectron2 answers with.
    """

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Propose."""
        model: Any = self.model
        with _traceable():
            images = _prepared(model, image)
            (found,), _ = model.proposal_generator(images, model.backbone(images.tensor), None)
            return found.proposal_boxes.tensor, found.objectness_logits.sigmoid()

    def classes(self, answer: Outputs) -> int:
        """Return 1: it finds objects."""
        return 1


class Detectron2Segmenter(ImageModel):
    """A network that gives each pixel a class.

    Input: that of `Detectron2Detector`. Output: float32 [C, height, width], logits.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Segment."""
        model: Any = self.model
        with _traceable():
            images = _prepared(model, image)
            scores, _ = model.sem_seg_head(model.backbone(images.tensor), None)
            return _cropped(scores, image)

    def classes(self, answer: Outputs) -> int:
        """Return how many classes a pixel can have."""
        return len(answer["semantic"])


class _Heatmaps:
    """What is mixed into a copy of a model's keypoint head: the heatmaps are left as they are, since whoever answers decodes them."""

    def forward(self: Any, x: torch.Tensor, instances: list[Any]) -> list[Any]:
        """Put the heatmaps [D, K, S, S] to the objects of the one image."""
        (found,) = instances
        found.heatmaps = self.layers(x)
        return instances


def _run(model: Any, image: torch.Tensor) -> tuple[Any, torch.Tensor | None]:
    """Return detectron2's `Instances` of an image, before any of its post-processing, and a panoptic model's semantic scores."""
    if hasattr(model, "roi_heads"):
        answer = model.inference([{"image": _pixels(image)}], do_postprocess=False)
        (found,), semantic = answer if isinstance(answer, tuple) else (answer, None)
        return found, semantic
    images = _prepared(model, image)
    levels = model.backbone(images.tensor)
    features = [levels[name] for name in model.head_in_features]
    (found,) = model.forward_inference(images, features, model.head(features))
    return found, None


def _prepared(model: Any, image: torch.Tensor) -> Any:
    """Return an image normalised and padded, as detectron2's `ImageList`."""
    from detectron2.structures import ImageList

    normalised = (_pixels(image) - model.pixel_mean) / model.pixel_std
    backbone = model.backbone
    return ImageList.from_tensors([normalised], backbone.size_divisibility, padding_constraints=backbone.padding_constraints)


def _pixels(image: torch.Tensor) -> torch.Tensor:
    return image[0].permute(2, 0, 1).to(torch.float32)


def _cropped(scores: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Return scores [C, h, w] without the padding, of [1, C, H, W]."""
    return scores[0, :, : image.shape[1], : image.shape[2]]


def _judge(model: Any) -> Any:
    """Return the module that leaves out what scores too low: the last box head's predictor, or a dense detector itself."""
    if not hasattr(model, "roi_heads"):
        return model
    predictor = model.roi_heads.box_predictor
    return predictor[-1] if isinstance(predictor, nn.ModuleList) else predictor


@contextlib.contextmanager
def _traceable() -> Iterator[None]:
    """While tracing, let detectron2 count with tensors, by its own means, which are for the whole process."""
    with contextlib.ExitStack() as stack:
        if torch._C._is_tracing():
            from detectron2.export.torchscript_patch import patch_builtin_len

            stack.enter_context(patch_builtin_len())
        yield
