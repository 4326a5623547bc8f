"""torchvision's detectors: they resize and normalise images themselves, one at a time, and answer in pixels of what they were given."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.onnx import operators

from exportweb.card import ImageInput, Output
from exportweb.errors import ExportError
from exportweb.exporters import checkpoints, torch_modules, torchvision_models
from exportweb.exporters.frameworks import Description, Hints, modules_of
from exportweb.exporters.image_model import Detector, Outputs
from exportweb.runtime.masks import Mask

_MODULE = "torchvision.models.detection"
_LONG, _SHORT = 320, 64  # pixels of the golden sample: so narrow that few are left after it is resized
_PERSON = 17  # keypoints of COCO


def recognises(model: nn.Module) -> bool:
    """Whether the class, or one that it derives from, is one of torchvision's detectors."""
    return any(name.startswith(f"{_MODULE}.") for name in modules_of(model)) and hasattr(model, "transform")


def architecture(model: nn.Module) -> str:
    """Return the name of the builder that makes such a model, or of its class if none does."""
    return torchvision_models.builder(model, _MODULE) or torch_modules.architecture(model)


def describe(model: nn.Module, hints: Hints) -> Description:
    """Take images as they are: the model's own transform comes with it. There are no labels: a model doesn't know them.

    Raises `ExportError` for hints, which would change nothing.
    """
    if hints.example is not None or hints.mean is not None or hints.std is not None:
        raise ExportError(
            f"{architecture(model)} takes images of any size and normalises them itself; leave example, mean and std out (size, mean and "
            "std are options of the model's own transform)."
        )
    transform: Any = model.transform
    heads: Any = getattr(model, "roi_heads", None)
    roles, card, task = ["boxes", "scores", "classes"], {}, "object-detection"
    if heads is not None and heads.has_mask():
        roles, task = [*roles, "masks"], "instance-segmentation"
    if heads is not None and heads.has_keypoint():
        roles, task = [*roles, "keypoints"], "keypoint-detection"
        card = {"keypoints": _keypoints(heads.keypoint_predictor)}
    return Description(
        framework="torchvision",
        architecture=architecture(model),
        input=ImageInput(
            height=0,
            width=0,
            resize="none",
            resize_height=0,
            resize_width=0,
            interpolation="bilinear",
            mean=tuple(map(float, transform.image_mean)),
            std=tuple(map(float, transform.image_std)),
        ),
        labels=None,
        packages=("torch", "torchvision"),
        task=task,
        outputs=tuple(Output(name=role, role=role, paste="integer" if role == "masks" else "continuous") for role in roles),
        wrap=functools.partial(TorchvisionDetector, roles=tuple(roles)),
        batch=False,
        sample=(_LONG, _SHORT),
        tracer="torchscript",
        card=card,
    )


def create(name: str, *, classes: int | None, checkpoint: Path | None, pretrained: bool) -> tuple[nn.Module, list[str] | None]:
    """Make a torchvision detector by the name of its builder; return it with the names of its classes if it is pretrained.

    `classes` is how many it tells apart, without the background; None for as many as the checkpoint has, or the 90 of COCO. Raises
    `ExportError` as `torchvision_models.create` does.
    """
    state = None if checkpoint is None else checkpoints.load(checkpoint)
    head = (state or {}).get("roi_heads.box_predictor.cls_score.bias")
    if classes is None and head is not None:
        classes = len(head) - 1
    model, labels = torchvision_models.make(name, classes=classes, background=_has_background, pretrained=pretrained and state is None)
    if state is not None:
        checkpoints.put(state, model, name=name, path=checkpoint)
    return model, labels


def as_coco(model: nn.Module, found: Mapping[str, torch.Tensor]) -> list[dict[str, Any]]:
    """Return what a detector's own forward answers for one image as COCO has it, like `exportweb.runtime.formats.coco`: without the
    background, classes are counted from 1.
    """
    first = int(_has_background(model))
    made = []
    for i, box in enumerate(found["boxes"].tolist()):
        left, top, right, bottom = box
        one: dict[str, Any] = {
            "category_id": int(found["labels"][i]) - first + 1,
            "score": float(found["scores"][i]),
            "bbox": [left, top, right - left, bottom - top],
        }
        if "masks" in found:
            bits = (found["masks"][i, 0] > 0.5).numpy()
            one["segmentation"] = Mask(bits, 0, 0, bits.shape[::-1]).rle()
        if "keypoints" in found:
            one["keypoints"] = [value for x, y, _ in found["keypoints"][i].tolist() for value in (x, y, 2)]
        made.append(one)
    return made


class TorchvisionDetector(Detector):
    """A detector of torchvision's with its transform.

    Input: uint8 [1, height, width, 3] of any size. Output: boxes float32 [D, 4] (x0, y0, x1, y1 in pixels of the input), scores float32
    [D], classes int64 [D] without the background; of Mask R-CNN also masks float32 [D, M, M] inside the boxes, of Keypoint R-CNN
    keypoints float32 [D, K, 3] (x, y in pixels, and torchvision's score of each, which is a logit).
    """

    def __init__(self, model: nn.Module, image: ImageInput, *, roles: tuple[str, ...]) -> None:
        holder: Any = getattr(model, "roi_heads", model)
        super().__init__(model, image, float(holder.score_thresh))
        holder.score_thresh = self.exportweb_threshold
        transform: Any = model.transform
        transform.__class__ = type(type(transform).__name__, (_Transform, type(transform)), {})
        self.first = int(_has_background(model))
        self.roles = roles

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Detect."""
        (found,) = self.model([image[0].permute(2, 0, 1).to(torch.float32) / 255])
        answer = [found["boxes"], found["scores"], found["labels"] - self.first]
        if "masks" in self.roles:
            answer.append(found["masks"][:, 0])
        if "keypoints" in self.roles:
            answer.append(torch.cat((found["keypoints"][..., :2], found["keypoints_scores"][..., None]), dim=2))
        return tuple(answer)

    def classes(self, answer: Outputs) -> int:
        """Return how many classes the model's head tells apart, without the background."""
        return _columns(self.model) - self.first


class _Transform:
    """What is mixed into a copy of a model's transform: sizes are computed as eager PyTorch does it, in float64, and masks are left as
    they are, since whoever draws them pastes them. (torchvision itself computes sizes in float32 while it is traced, so that some images
    come out one pixel smaller.)
    """

    def resize(self: Any, image: torch.Tensor, target: None = None) -> tuple[torch.Tensor, None]:
        """Resize an image [C, H, W] so that its edges fit."""
        if self.fixed_size is not None:
            size = [self.fixed_size[1], self.fixed_size[0]]
        elif not torch._C._is_tracing():
            high, wide = image.shape[-2:]
            scale = min(self.min_size[-1] / min(high, wide), self.max_size / max(high, wide))
            size = [int(high * scale), int(wide * scale)]
        else:
            sides = operators.shape_as_tensor(image)[-2:].to(torch.float64)
            limits = torch.tensor([self.min_size[-1], self.max_size], dtype=torch.float64)
            scale = (limits / torch.stack([sides.min(), sides.max()])).min()
            size = list(torch.floor(sides * scale).to(torch.int64))
        return nn.functional.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0], target

    def postprocess(self: Any, result: list[dict[str, torch.Tensor]], image_shapes: Any, original_image_sizes: Any) -> Any:
        """Bring boxes and keypoints back to the pixels of the image."""
        from torchvision.models.detection.transform import resize_boxes, resize_keypoints

        for found, resized, original in zip(result, image_shapes, original_image_sizes, strict=True):
            found["boxes"] = resize_boxes(found["boxes"], resized, original)
            if "keypoints" in found:
                found["keypoints"] = resize_keypoints(found["keypoints"], resized, original)
        return result


def _has_background(model: nn.Module) -> bool:
    """Whether the first class of a model's head is the background: not where each class has a score of its own."""
    return not {"RetinaNet", "FCOS"} & {kind.__name__ for kind in type(model).__mro__}


def _columns(model: Any) -> int:
    """Return how many classes the head of a model tells apart, with the background where it has one."""
    if hasattr(model, "roi_heads"):
        predictor = model.roi_heads.box_predictor
        head = getattr(predictor, "cls_score", None)
        if not isinstance(head, nn.Linear):
            raise ExportError(f"{type(predictor).__name__} doesn't say how many classes it tells apart: it has no Linear cls_score.")
        return head.out_features
    head = model.head.classification_head
    return int(getattr(head, "num_columns", None) or head.num_classes)


def _keypoints(predictor: Any) -> tuple[str, ...]:
    """Return the names of a predictor's keypoints: COCO's of a person, or their numbers."""
    count = int(predictor.kps_score_lowres.out_channels)
    if count != _PERSON:
        return tuple(f"keypoint_{i}" for i in range(count))
    from torchvision.models.detection import KeypointRCNN_ResNet50_FPN_Weights as Weights

    return tuple(Weights.DEFAULT.meta["keypoint_names"])
