"""detectron2's models: they normalise and pad images themselves; who calls them resizes images, and brings answers back to their pixels."""

from __future__ import annotations

import functools
import logging
from typing import Any, Literal, cast

from torch import nn

from exportweb.card import ImageInput, Output
from exportweb.errors import ExportError
from exportweb.exporters import detectron2_config, torch_modules
from exportweb.exporters.detectron2_config import Settings
from exportweb.exporters.detectron2_wrapper import Detectron2Detector, Detectron2Proposals, Detectron2Segmenter
from exportweb.exporters.frameworks import Description, Hints, modules_of

log = logging.getLogger("exportweb")

_MODULE = "detectron2.modeling.meta_arch."
_DETECTED = ("boxes", "scores", "classes")
_OBJECTS, _PIXELS = (64, 192), (32, 64)  # (height, width) of the golden sample; scores of each pixel are many numbers for a card
_COMBINE = {"combine_overlap_thresh": 0.5, "combine_stuff_area_thresh": 4096, "combine_instances_score_thresh": 0.5}


def recognises(model: nn.Module) -> bool:
    """Whether the class, or one that it derives from, is one of detectron2's meta architectures that exportweb knows."""
    return any(name.startswith(_MODULE) for name in modules_of(model)) and _kind(model) is not None


def architecture(model: nn.Module) -> str:
    """Return the name of the class."""
    return torch_modules.architecture(model)


def describe(model: nn.Module, hints: Hints) -> Description:
    """Take images as `detectron2_config.configure` said, or else as detectron2 does by default: the shortest edge 800 pixels, the longest
    at most 1333, in the order of channels that the model says, or else BGR.

    Raises `ExportError` for hints, which would change nothing, and for a model that takes more than an image.
    """
    if hints.example is not None or hints.mean is not None or hints.std is not None:
        raise ExportError(
            f"{architecture(model)} takes images of any size and normalises them itself; leave example, mean and std out. For another size "
            "tell its configuration: exportweb.exporters.detectron2.configure(model, cfg)."
        )
    known = detectron2_config.settings(model)
    return Description(
        framework="detectron2",
        architecture=architecture(model),
        input=_image(model, known),
        labels=None,
        packages=("torch", "torchvision", "detectron2"),
        batch=False,
        tracer="torchscript",
        fallback=True,
    )._replace(**_task(model, known))


def _task(model: Any, known: Settings) -> dict[str, Any]:
    """Return the fields of a `Description` that depend on what a model finds."""
    kind = _kind(model)
    if kind == "semantic":
        outputs = (Output(name="semantic", role="semantic"),)
        return {"task": "semantic-segmentation", "outputs": outputs, "labels": known.stuff, "wrap": Detectron2Segmenter, "sample": _PIXELS}
    if kind == "proposals":
        boxes = tuple(Output(name=role, role=role) for role in ("boxes", "scores"))
        return {
            "task": "object-detection",
            "outputs": boxes,
            "labels": ("object",),
            "wrap": Detectron2Proposals,
            "sample": _sample(model),
        }
    roles, task, card = [*_DETECTED], "object-detection", {}
    heads: Any = getattr(model, "roi_heads", None)
    if heads is not None and getattr(model, "proposal_generator", None) is None:
        raise ExportError(f"{architecture(model)} has no proposal generator: it takes boxes with each image, which no request has.")
    if getattr(heads, "mask_on", False):
        roles, task = [*roles, "masks"], "instance-segmentation"
    if getattr(heads, "keypoint_on", False):
        roles, task = [*roles, "keypoint-heatmaps"], "keypoint-detection"
        card["keypoints"] = detectron2_config.keypoints(int(heads.keypoint_head.num_keypoints), known.keypoints)
    if kind == "panoptic":
        roles, task = [*roles, "semantic"], "panoptic-segmentation"
        card["stuff"] = _stuff(model, known)
        other = {name: getattr(model, name) for name, value in _COMBINE.items() if getattr(model, name) != value}
        if other:
            log.warning("exportweb: panoptic segments are served with detectron2's own thresholds; the model has %s", other)
    return {
        "task": task,
        "outputs": tuple(Output(name=role, role=role) for role in roles),
        "labels": known.things,
        "wrap": functools.partial(Detectron2Detector, roles=tuple(roles)),
        "sample": _sample(model),
        "card": card,
    }


def _kind(model: Any) -> Literal["objects", "panoptic", "proposals", "semantic"] | None:
    """Return what a model does, by the parts that it has; None for one of another kind."""
    if hasattr(model, "roi_heads"):
        return "panoptic" if hasattr(model, "sem_seg_head") else "objects"
    if hasattr(model, "sem_seg_head"):
        return "semantic"
    if hasattr(model, "proposal_generator"):
        return "proposals"
    return "objects" if hasattr(model, "forward_inference") and hasattr(model, "head_in_features") else None


def _stuff(model: Any, known: Settings) -> tuple[str, ...]:
    """Return the names of the channels of a panoptic model's semantic scores, of which the first stands for all things."""
    count = int(model.sem_seg_head.predictor.out_channels)
    if known.stuff is not None and len(known.stuff) == count:
        return known.stuff
    return ("things", *(f"stuff_{i}" for i in range(1, count)))


def _sample(model: Any) -> tuple[int, int]:
    """Return (height, width) of images to try a detector on, no larger than the square that some pad them to."""
    square = int((model.backbone.padding_constraints or {}).get("square_size", 0)) or max(_OBJECTS)
    return min(_OBJECTS[0], square), min(_OBJECTS[1], square)


def _image(model: Any, known: Settings) -> ImageInput:
    color = known.color or getattr(model, "input_format", None) or "BGR"
    if color not in ("RGB", "BGR"):
        raise ExportError(f"{architecture(model)} takes images as {color}; expected RGB or BGR.")
    return ImageInput(
        height=0,
        width=0,
        color=cast(Literal["RGB", "BGR"], color),
        resize="bounded" if known.short else "none",
        resize_height=known.short,
        resize_width=known.short,
        resize_max=known.long if known.short else 0,
        interpolation="bilinear",
        mean=tuple(float(value) / 255 for value in model.pixel_mean.flatten()),
        std=tuple(float(value) / 255 for value in model.pixel_std.flatten()),
    )
