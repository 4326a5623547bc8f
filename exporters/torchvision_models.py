"""torchvision: the weights that a model's builder publishes say how images are prepared."""

from __future__ import annotations

import functools
import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.overrides import TorchFunctionMode

from exportweb.card import ImageInput
from exportweb.errors import ExportError
from exportweb.exporters import checkpoints, torch_modules
from exportweb.exporters.frameworks import Description, Hints, modules_of
from exportweb.exporters.timm_input import per_channel

_FITS = 0.9  # the part of a model's tensors, outside its head, that its builder makes in the same shape
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def recognises(model: nn.Module) -> bool:
    """Whether the class, or one that it derives from, is what one of torchvision's builders of classifiers makes."""
    return bool(_candidates(model))


def architecture(model: nn.Module) -> str:
    """Return the name of the builder that makes such a model, or of its class if none does."""
    return builder(model) or torch_modules.architecture(model)


def describe(model: nn.Module, hints: Hints) -> Description:
    """Take the transform that belongs to the builder's default weights; an example or mean and std overrule it.

    A model doesn't say which builder made it, so that is found by its layers; the head may be another. Where none fits, it is
    the transform of most: the shortest edge to 256, the centre of 224, bilinear, ImageNet's mean and std. Nor does it say whose
    weights it has: it gets no labels, even with a thousand classes.
    """
    return Description(
        framework="torchvision",
        architecture=architecture(model),
        input=torch_modules.overrule(_image(model), hints),
        labels=None,
        packages=("torch", "torchvision"),
    )


def transform(model: nn.Module) -> Callable[[Image.Image], torch.Tensor]:
    """Return the transform that `describe` describes, made of torchvision's: of an RGB image to float32 [3, height, width]."""
    from torchvision import transforms

    image = _image(model)
    made: Callable[[Image.Image], torch.Tensor] = transforms.Compose(
        [
            transforms.Resize(image.resize_height, transforms.InterpolationMode(image.interpolation)),
            transforms.CenterCrop((image.height, image.width)),
            transforms.ToTensor(),
            transforms.Normalize(image.mean, image.std),
        ]
    )
    return made


def create(name: str, *, classes: int | None, checkpoint: Path | None, pretrained: bool) -> tuple[nn.Module, list[str] | None]:
    """Make a torchvision classifier by the name of its builder; return it with the names of its classes if it is pretrained.

    `classes` is None for as many as the checkpoint's classifier has, or the thousand of ImageNet. Raises `ExportError` if there is no
    such builder, the checkpoint can't be read or doesn't fit, or pretrained weights have another number of classes.
    """
    if checkpoint is not None:
        known(name)
        state = checkpoints.load(checkpoint)
        model = _make(name, _options(name, state, classes))
        checkpoints.put(state, model, name=name, path=checkpoint)
        return model, None
    return make(name, classes=classes, pretrained=pretrained)


def known(name: str) -> str:
    """Return the module of torchvision that has the builder of this name; raise `ExportError` if none does."""
    try:
        import torchvision
        from torchvision import models
    except ImportError as error:
        raise ExportError("torchvision is not installed: pip install torchvision.") from error
    where = {
        each: module.__name__ for module in (models, models.detection, models.segmentation) for each in models.list_models(module=module)
    }
    if name not in where:
        raise ExportError(f"torchvision {torchvision.__version__} has no image model {name!r}.{checkpoints.did_you_mean(name, where)}")
    return str(where[name])


def make(
    name: str, *, classes: int | None, pretrained: bool, background: Callable[[nn.Module], bool] = lambda model: False, **options: Any
) -> tuple[nn.Module, list[str] | None]:
    """Make a model by the name of its builder, with random weights or pretrained ones and the names of their classes.

    `classes` is how many it tells apart; `background` says whether a model counts the background as one more, its first.
    """
    known(name)
    from torchvision import models

    if not pretrained:
        if classes is not None:
            options["num_classes"] = classes + background(_hollow(name))
        return _make(name, options), None
    weights = models.get_model_weights(name).DEFAULT
    labels = list(weights.meta["categories"])[background(_hollow(name)) :]
    if classes not in (None, len(labels)):
        raise ExportError(f"The pretrained {name} tells {len(labels)} classes apart; {classes} labels were given.")
    return models.get_model(name, weights=weights, **options), labels


def _make(name: str, options: Mapping[str, Any]) -> nn.Module:
    from torchvision import models

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some builders announce that they will one day initialise otherwise
        if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
            options = {"weights_backbone": None, **options}  # which would be downloaded
        model: nn.Module = models.get_model(name, weights=None, **options)
    return model


def _options(name: str, state: Mapping[str, torch.Tensor], classes: int | None) -> dict[str, Any]:
    """What a builder must be told to make a model that a checkpoint fits: the number of classes, and if it has no auxiliary heads."""
    hollow = _hollow(name)
    options: dict[str, Any] = {}
    last = state.get(list(hollow.state_dict())[-1])  # the head's bias, or its weight if it has none
    if classes is not None or last is not None:
        options["num_classes"] = classes or len(last if last is not None else ())
    if getattr(hollow, "aux_logits", False) and not any("aux" in key.lower() for key in state):
        options["aux_logits"] = False
    return options


def _candidates(model: nn.Module, module: str = "torchvision.models") -> tuple[str, ...]:
    """Return the builders in a module of torchvision that the same Python module defines as the class, or else one it derives from."""
    defined_in = [name for name in modules_of(model) if name.startswith("torchvision.models.")]
    if not defined_in:
        return ()
    from torchvision import models

    names = models.list_models(module=importlib.import_module(module))
    found = (tuple(name for name in names if models.get_model_builder(name).__module__ == each) for each in defined_in)
    return next(filter(None, found), ())


def builder(model: nn.Module, module: str = "torchvision.models") -> str | None:
    """Return the builder in a module of torchvision whose models have the layers that this one has, None if there is none."""
    count = sum(parameter.numel() for parameter in model.parameters())
    return _fitting(_candidates(model, module), _body(model), count)


@functools.lru_cache(maxsize=8)
def _fitting(candidates: tuple[str, ...], body: frozenset[tuple[str, torch.Size]], count: int) -> str | None:
    from torchvision import models

    def distance(name: str) -> int:
        return abs(int(models.get_model_weights(name).DEFAULT.meta["num_params"]) - count)

    best, fits = None, _FITS
    for name in sorted(candidates, key=distance):  # most often it is the first
        other = _body(_hollow(name))
        fit = len(body & other) / max(len(body | other), 1)
        if fit > fits:
            best, fits = name, fit
        if fit == 1:
            break
    return best


def _body(model: nn.Module) -> frozenset[tuple[str, torch.Size]]:
    """Return the names and shapes of all tensors but the head's, which is the last child."""
    head = next((name for name, _ in reversed(list(model.named_children()))), "")
    return frozenset((name, tensor.shape) for name, tensor in model.state_dict().items() if not name.startswith(f"{head}."))


def _hollow(name: str) -> nn.Module:
    """Make a model whose parameters take no memory and no time."""
    with torch.random.fork_rng(devices=[]), _Hollow():
        return _make(name, {})


class _Hollow(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **{**kwargs, "device": "meta"} if func is torch.empty else kwargs)


def _image(model: nn.Module) -> ImageInput:
    """Return the preset of the builder's weights: the default ones, or those for the size that the model was made for."""
    side = getattr(model, "image_size", None)  # of a vision transformer
    name = builder(model)
    crop, resize, mean, std = 224, 256, MEAN, STD
    interpolation: Any = "bilinear"
    if name is not None:
        from torchvision import models

        weights = models.get_model_weights(name)
        presets = [each.transforms() for each in (weights.DEFAULT, *weights)]
        preset = next((each for each in presets if each.crop_size == [side]), presets[0])
        (crop,), (resize,), interpolation = preset.crop_size, preset.resize_size, preset.interpolation.value
        mean, std = tuple(preset.mean), tuple(preset.std)
    if isinstance(side, int) and side != crop:
        crop, resize = side, round(resize * side / crop)
    channels = torch_modules.channels(model)
    return ImageInput(
        height=crop,
        width=crop,
        color="L" if channels == 1 else "RGB",
        resize="shortest",
        resize_height=resize,
        resize_width=resize,
        interpolation=interpolation,
        mean=per_channel(mean, channels, "mean"),
        std=per_channel(std, channels, "std"),
    )
