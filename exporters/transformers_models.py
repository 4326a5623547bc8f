"""Hugging Face transformers: the image processor and the configuration say what the model takes and tells apart.

Classifiers are described here; detectors and segmenters, which have modules of their own, are made and prepared for here, too.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from PIL import Image
from torch import nn

from exportweb.card import ImageInput
from exportweb.errors import ExportError
from exportweb.exporters import checkpoints, timm_models, torch_modules, transformers_input
from exportweb.exporters.frameworks import Description, Hints, modules_of
from exportweb.exporters.timm_input import per_channel

log = logging.getLogger("exportweb")

_HALF = (0.5, 0.5, 0.5)
_KINDS = ("ImageClassification", "ObjectDetection", "SemanticSegmentation")


def recognises(model: nn.Module) -> bool:
    """Whether it is a `PreTrainedModel` that takes ``pixel_values`` and tells classes apart."""
    if "transformers.modeling_utils" not in modules_of(model):
        return False
    return getattr(model, "main_input_name", None) == "pixel_values" and hasattr(getattr(model, "config", None), "id2label")


def is_for(model: nn.Module, what: str) -> bool:
    """Whether it is such a model whose class is for this, as transformers' names have it: ``"ObjectDetection"``."""
    return recognises(model) and any(kind.__name__.endswith(f"For{what}") for kind in type(model).__mro__)


def sized(model: Any) -> bool:
    """Whether the configuration, or that of the backbone, says how large images are."""
    return any(_size(config) for config in (model.config, getattr(model.config, "backbone_config", None)) if config is not None)


def architecture(model: nn.Module) -> str:
    """Return the name of its class."""
    return torch_modules.architecture(model)


def describe(model: nn.Module, hints: Hints) -> Description:
    """Ask the image processor that lies beside the model's weights; an example or mean and std overrule it.

    If there is none on this machine (nothing is downloaded), it is what the model's family does by default, at the size in the model's
    configuration, and a warning says so. Labels are those of the configuration, unless nobody gave them names.

    Raises `ExportError` if the model is for another task, gives a picture several labels, or if nothing says what images it takes.
    """
    config: Any = model.config
    if (purpose := _purpose(model)) and not purpose.startswith(_KINDS[0]):
        raise ExportError(f"{type(model).__name__} is for {purpose}; exportweb serves transformers' models for {', '.join(_KINDS)}.")
    if config.problem_type == "multi_label_classification":
        raise ExportError(
            f"{type(model).__name__} gives a picture any number of labels (problem_type='multi_label_classification'); exportweb serves "
            "classifiers that give one."
        )
    return Description(
        framework="transformers",
        architecture=architecture(model),
        input=prepared(model, hints),
        labels=labels(model),
        packages=("torch", "transformers"),
    )


def prepared(model: nn.Module, hints: Hints, *, any_size: bool = False) -> ImageInput:
    """Return what images a model takes; `any_size` says that it needs no fixed one. See `describe`, also for what is raised."""
    image, warning = _image(model, any_size=any_size)
    if image is None:
        if hints.example is None:
            raise ExportError(
                f"Neither the configuration of {type(model).__name__} nor an image processor says how large its images are. "
                "Show an example: example=images."
            )
        image = torch_modules.image_input(hints.example)
    if warning and (hints.mean is None or hints.std is None):
        log.warning("exportweb: %s", warning)
    return torch_modules.overrule(image, hints)


def labels(model: Any) -> tuple[str, ...] | None:
    """Return the names of a model's classes, None where nobody gave them any."""
    named = model.config.id2label or {}  # None where a configuration, such as PVT's, doesn't number its classes by itself
    names = [str(named[i]) for i in sorted(named, key=int)]
    return None if names == [f"LABEL_{i}" for i in range(len(names))] else tuple(names)


def transform(model: nn.Module) -> Callable[[Image.Image], torch.Tensor] | None:
    """Return what the image processor beside the model's weights does, of an RGB image to float32 [channels, height, width]; None if there
    is none.
    """
    processor = beside(model)
    return None if processor is None else lambda image: torch.tensor(transformers_input.ask(processor, image))


def create(name: str, *, checkpoint: Path | None, pretrained: bool) -> nn.Module:
    """Load a classifier, detector or segmenter, which knows its labels itself, from a folder that ``save_pretrained`` wrote.

    With `pretrained`, `name` may be a model of the Hugging Face Hub, which is downloaded. Raises `ExportError` if it can't be loaded.
    """
    try:
        import transformers
    except ImportError as error:
        raise ExportError("transformers is not installed: pip install transformers.") from error
    try:
        options: dict[str, Any] = {"local_files_only": not pretrained, "trust_remote_code": False}
        saved = (getattr(transformers.AutoConfig.from_pretrained(name, **options), "architectures", None) or [""])[0]
        kind = next((kind for kind in _KINDS if saved.endswith(f"For{kind}")), _KINDS[0])
        model: nn.Module = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise ExportError(
            f"transformers can't load an image model from {name!r}: {' '.join(str(error).split())[:300]} Give a folder that "
            "save_pretrained wrote, as transformers/path/to/folder, or with --pretrained a model of the Hub."
        ) from error
    if checkpoint is not None:
        checkpoints.put(checkpoints.load(checkpoint), model, name=name, path=checkpoint)
    return model


def _purpose(model: nn.Module) -> str:
    """Return what a model is for, as the name of transformers' class says it behind ``For``; empty if that doesn't."""
    names = [kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("transformers.models.")]
    found = (re.search(r"For([A-Z]\w*)$", name) for name in names)
    return next((match[1] for match in found if match), "")


def _image(model: nn.Module, *, any_size: bool) -> tuple[ImageInput | None, str]:
    """Return what images the model takes, as far as anything says so, and a sentence about what had to be assumed."""
    inner = next((child for child in model.children() if timm_models.recognises(child)), None)
    if inner is not None:  # one of timm's, wrapped
        return timm_models.describe(inner, Hints()).input, ""
    image, name, size = None, type(model).__name__, _size(model.config)
    warning = f"the image processor of {name} can't be described; its images are squeezed to size"
    with contextlib.suppress(ExportError):
        if (processor := beside(model)) is not None:
            image, off = transformers_input.image_input(processor, any_size=any_size)
            close = off <= transformers_input.SAME
            warning = (
                "" if close else f"images for {name} are off by up to {off:.0f} of 255 from what {type(processor).__name__} makes of them"
            )
        elif (processor := default(model)) is not None:
            processor = transformers_input.scaled(processor, *size) if size and not any_size else processor
            image, _ = transformers_input.image_input(processor, any_size=any_size)
            warning = (
                f"no image processor lies beside the weights of {name}; it is taken to be {type(processor).__name__} with its defaults"
            )
    if image is None and size is not None:
        image = ImageInput(
            height=size[0],
            width=size[1],
            resize="exact",
            resize_height=size[0],
            resize_width=size[1],
            interpolation="bilinear",
            mean=_HALF,
            std=_HALF,
        )
    if image is not None:
        if _setting(model.config, "num_channels") == 1:
            image = msgspec.structs.replace(image, color="L", mean=per_channel(image.mean, 1, "mean"), std=per_channel(image.std, 1, "std"))
        warning += warning and (
            f": {image.height or image.resize_height} x {image.width or image.resize_width} pixels, mean {image.mean}, std {image.std}. "
            "If you train with something else, pass mean= and std=, and example=images for the size."
        )
    return image, warning


def beside(model: Any) -> Any:
    """Return the image processor that was saved with the model's weights, from their folder or the Hub's cache; None if none was."""
    from transformers import AutoImageProcessor

    name = getattr(model.config, "_name_or_path", "")
    if not name:
        return None
    try:
        return AutoImageProcessor.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError):
        return None


def default(model: Any) -> Any:
    """Return the image processor of the model's family with its defaults; None if it has none that can be made here."""
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING

    classes: Any = IMAGE_PROCESSOR_MAPPING.get(type(model.config), ())
    for kind in classes.values() if isinstance(classes, dict) else classes:  # by backend; a tuple in older versions
        with contextlib.suppress(ImportError, TypeError):
            return kind()
    return None


def _setting(config: Any, key: str) -> Any:
    """Return a setting of an image model's configuration, or of the vision part of one that has several."""
    value = getattr(config, key, None)
    return getattr(getattr(config, "vision_config", None), key, None) if value is None else value


def _size(config: Any) -> tuple[int, int] | None:
    """Return (height, width), if the configuration says so."""
    size = _setting(config, "image_size")
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) and len(size) == 2 else None
