"""timm: the model itself says how its images are prepared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters import checkpoints, timm_input, torch_modules
from exportweb.exporters.frameworks import Description, Hints, modules_of


def recognises(model: nn.Module) -> bool:
    """Timm's models carry the configuration of their pretrained weights, whether they use those or not."""
    return hasattr(model, "pretrained_cfg") and any(name.split(".")[0] == "timm" for name in modules_of(model))


def architecture(model: nn.Module) -> str:
    """Return the name by which timm makes it."""
    return str((getattr(model, "pretrained_cfg", None) or {}).get("architecture") or type(model).__name__)


def describe(model: nn.Module, hints: Hints) -> Description:
    """Take the evaluation transform from `timm.data.resolve_model_data_config`; an example or mean and std overrule it."""
    import timm.data

    config = timm.data.resolve_model_data_config(model)
    image = timm_input.image_input(config, size=_image_size(model), channels=_channels(model))
    names = (getattr(model, "pretrained_cfg", None) or {}).get("label_names")
    return Description(
        framework="timm",
        architecture=architecture(model),
        input=torch_modules.overrule(image, hints),
        labels=tuple(names) if names else None,
        packages=("torch", "timm"),
    )


def transform(model: nn.Module) -> Callable[[Image.Image], torch.Tensor]:
    """Return timm's evaluation transform for a model: of an RGB image to what the model takes, float32 [3, height, width]."""
    import timm.data

    config = timm.data.resolve_model_data_config(model)
    if (size := _image_size(model)) is not None:
        config["input_size"] = (3, *size)
    made: Callable[[Image.Image], torch.Tensor] = timm.data.create_transform(**config, is_training=False)
    return made


def _channels(model: nn.Module) -> int | None:
    """The channels that the model was made for, which its configuration doesn't follow: those of its first convolution."""
    names = (getattr(model, "pretrained_cfg", None) or {}).get("first_conv")
    for name in [names] if isinstance(names, str) else list(names or ()):
        try:
            layer = model.get_submodule(name)
        except AttributeError:
            continue
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.in_channels in (1, 3):
            return layer.in_channels
    return None


def _image_size(model: nn.Module) -> tuple[int, int] | None:
    """The size that a model with a fixed grid of patches was made for (``img_size=``)."""
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return (int(size[0]), int(size[1])) if isinstance(size, tuple) and len(size) == 2 else None


def create(name: str, *, classes: int | None, checkpoint: Path | None, pretrained: bool) -> tuple[nn.Module, list[str] | None]:
    """Make a timm model by its name; return it with the names of its classes where timm knows them.

    `classes` is None for as many as the checkpoint's classifier has, or the model's own number. Raises `ExportError` if timm has no such
    model, or the checkpoint can't be read or doesn't fit it.
    """
    try:
        import timm
    except ImportError as error:
        raise ExportError('timm is not installed: pip install "exportweb[export]".') from error
    if not timm.is_model(name):
        raise ExportError(f"timm {timm.__version__} has no model {name!r}.{checkpoints.did_you_mean(name, timm.list_models())}")
    state = None if checkpoint is None else checkpoints.load(checkpoint)
    if classes is None and state is not None:
        classes = _classes_in(name, state)
    sizes: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    model: nn.Module = timm.create_model(name, pretrained=pretrained and state is None, **sizes)
    if state is not None:
        checkpoints.put(state, model, name=name, path=checkpoint)
    return model, imagenet_labels(model) if pretrained and state is None and classes is None else None


def imagenet_labels(model: nn.Module) -> list[str] | None:
    """Return the names of ImageNet's classes in the order of a pretrained model's outputs, where timm knows them."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(model)
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    return [info.index_to_description(i) for i in range(info.num_classes())]


def _classes_in(name: str, state: dict[str, torch.Tensor]) -> int | None:
    """The number of classes of a checkpoint: the length of its classifier's bias or weight, under the name that timm says it has."""
    import timm.models

    classifier = timm.models.get_pretrained_cfg_value(name, "classifier")
    for key in [classifier] if isinstance(classifier, str) else list(classifier or ()):
        for suffix in ("bias", "weight"):
            if (tensor := state.get(f"{key}.{suffix}")) is not None:
                return int(tensor.shape[0])
    return None
