"""Models by name, for the command line: ``timm/resnet50``, ``torchvision/resnet50``, ``transformers/folder``, ``detectron2/config``,
``module:function``.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters import (
    checkpoints,
    detectron2_zoo,
    timm_models,
    torchvision_detectors,
    torchvision_models,
    torchvision_segmenters,
    transformers_models,
)

_KINDS = "timm/<name>, torchvision/<name>, transformers/<folder>, detectron2/<config> or package.module:function"


def create(spec: str, *, classes: int | None, checkpoint: Path | None, pretrained: bool) -> tuple[nn.Module, list[str] | None]:
    """Make the model that `spec` names, with random weights, those of `checkpoint`, or the `pretrained` ones that it was published with.

    Returns it with the names of its classes, None where nothing knows them. `classes` is how many it should have; None leaves that to
    the checkpoint or the model. Raises `ExportError` that names what was given and what would do.
    """
    framework, slash, name = spec.partition("/")
    package, colon, function = spec.partition(":")
    if slash and name:
        if framework == "timm":
            return timm_models.create(name, classes=classes, checkpoint=checkpoint, pretrained=pretrained)
        if framework == "torchvision":
            module = torchvision_models.known(name).rpartition(".")[2]
            kind = {"detection": torchvision_detectors, "segmentation": torchvision_segmenters}.get(module, torchvision_models)
            made: tuple[nn.Module, list[str] | None] = kind.create(name, classes=classes, checkpoint=checkpoint, pretrained=pretrained)
            return made
        if framework == "detectron2":
            return detectron2_zoo.create(name, classes=classes, checkpoint=checkpoint, pretrained=pretrained)
        if framework == "transformers":
            return transformers_models.create(name, checkpoint=checkpoint, pretrained=pretrained), None
    if colon and all(part.isidentifier() for part in (*package.split("."), *function.split("."))):
        if pretrained:
            raise ExportError(f"--pretrained is for models that were published; what {spec} returns has the weights that it has.")
        model = _call(package, function)
        if checkpoint is not None:
            checkpoints.put(checkpoints.load(checkpoint), model, name=spec, path=checkpoint)
        return model, None
    raise ExportError(f"{spec!r} is not a model that exportweb can make; give one as {_KINDS}, for example timm/resnet50.")


def _call(module: str, function: str) -> nn.Module:
    """Import a module, from the working directory too, as ``python -m`` would; return the model that its function returns."""
    spec = f"{module}:{function}"
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109  as sys.path has it
        sys.path.insert(0, here)
    try:
        made: object = importlib.import_module(module)
        for part in function.split("."):
            made = getattr(made, part)
    except (ImportError, AttributeError) as error:
        raise ExportError(
            f"{spec} can't be found ({error}). It should be a function of a module that is installed or in {here}."
        ) from error
    if not isinstance(made, nn.Module) and callable(made):
        try:
            made = made()
        except Exception as error:
            raise ExportError(f"{spec} failed, called without arguments: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ExportError(f"{spec} returned {type(made).__name__}; expected a torch.nn.Module.")
    return made
