"""A model in PyTorch, asked as the served one is, to see that exporting lost nothing.

Images come as files and are turned upright, as the server does it. From there on all is the framework's own where its way to prepare
images is known and is what the card says: the evaluation transforms of timm and torchvision, the image processors of transformers, and what
torchvision's detectors do with images and boxes themselves. Any other model stands in for the graph: it gets the pixels that the graph
gets, and its outputs are read in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from exportweb.card import Card
from exportweb.errors import ExportError
from exportweb.exporters import frameworks, named, timm_models, torchvision_detectors, torchvision_models, transformers_models
from exportweb.exporters.frameworks import Hints
from exportweb.exporters.image_model import ImageModel, logits
from exportweb.exporters.unwrap import eval_copy, unwrap
from exportweb.runtime.cpus import usable_cpus
from exportweb.runtime.evaluate.kinds import LEAST, MOST, Kind
from exportweb.runtime.images import convert, decode
from exportweb.runtime.predictor import MAX_PIXELS, Predictor
from exportweb.runtime.session import Array, Session

Answer = Callable[[Path], Any]
"""What a model answers about an image's file, as a `Kind` reads it."""


class Eager(NamedTuple):
    """A model to ask, and who prepares its images, in words."""

    prepared: str
    answer: Answer


def load(spec: str, predictor: Predictor, kind: Kind) -> Eager:
    """Return the model that ``module:function`` returns, to be asked what `predictor` is asked for this kind of answers.

    It runs on the GPU if `predictor` does and PyTorch can. Raises `ExportError` if there is no such model, or if it isn't one for the
    task of the card; and when it is asked, if it fails.
    """
    if ":" not in spec:
        raise ExportError(
            f"{spec!r} is no model to compare with; give package.module:function, a function that returns it with its weights."
        )
    model, _ = named.create(spec, classes=None, checkpoint=None, pretrained=False)
    device = "cuda" if predictor.device != "cpu" and torch.cuda.is_available() else "cpu"
    model = eval_copy(unwrap(model)).to(device)
    torch.set_num_threads(max(1, usable_cpus() // 2))  # the served model is asked meanwhile; where both want all cores, each waits
    prepared, answer = _own(model, predictor.card) or ("the server", _in_place_of_the_graph(model, predictor, kind))
    return Eager(prepared, _explained(spec, answer))


def _own(model: nn.Module, card: Card) -> Eager | None:
    """Return the model with what its framework itself does around it; None if that isn't known, or isn't what the card says."""
    adapter, description = frameworks.adapter(model), _described(model)
    if description is None or card.input is None or card.input.channels != 3 or description.input != card.input:
        return None
    if adapter is torchvision_detectors:
        return Eager("torchvision", lambda path: _detected(model, path))
    if adapter not in (timm_models, torchvision_models, transformers_models):
        return None
    transform = adapter.transform(model)
    return transform and Eager(description.framework, _classifier(model, transform))


def _described(model: nn.Module) -> frameworks.Description | None:
    """Return what its framework says about a model; None where it needs more to be said, such as what images a plain module takes."""
    try:
        return frameworks.describe(model, Hints())
    except ExportError:
        return None


def _classifier(model: nn.Module, transform: Callable[[Image.Image], torch.Tensor]) -> Answer:
    """Return what answers with the scores of the classes, float32 [C]."""

    def answer(path: Path) -> Array:
        image = transform(_upright(path))[None].to(_device(model))
        scores: Array = logits(model(image)).softmax(1)[0].cpu().numpy()
        return scores

    return answer


def _detected(model: nn.Module, path: Path) -> list[dict[str, Any]]:
    """Return what a detector of torchvision's finds, as COCO has it."""
    pixels = torch.from_numpy(np.array(_upright(path))).permute(2, 0, 1).to(torch.float32) / 255
    (found,) = model([pixels.to(_device(model))])
    kept = torch.nonzero(found["scores"] > LEAST)[:MOST, 0]
    return torchvision_detectors.as_coco(model, {name: value[kept].cpu() for name, value in found.items()})


def _in_place_of_the_graph(model: nn.Module, predictor: Predictor, kind: Kind) -> Answer:
    card = predictor.card
    assert card.input is not None  # of a task that takes images
    module = model  # as it is, in place of a graph from elsewhere, which takes normalised images
    names = [output.name for output in card.outputs]
    if card.input.dtype == "uint8":
        description = _described(model)
        if description is not None and description.task != card.task:
            raise ExportError(f"{description.architecture} is for {description.task}; what is evaluated is for {card.task}.")
        module = (ImageModel if description is None else description.wrap)(model, card.input)
    stand_in = Predictor(card, _Session(module.eval().to(_device(model)), predictor.session, names))
    params = stand_in.task.params(kind.asks)

    def answer(path: Path) -> Any:
        prepared = stand_in.prepare(path.read_bytes())
        (row,) = stand_in.infer([prepared])
        return kind.read(stand_in.task.answer(row, params, prepared))

    return answer


class _Session:
    """A module with the inputs and outputs of a graph; `names` are those of its outputs, in their order."""

    def __init__(self, module: nn.Module, graph: Session, names: Sequence[str]) -> None:
        self._module, self._names = module, names
        self.inputs, self.outputs, self.threads = graph.inputs, graph.outputs, graph.threads
        self.device = str(_device(module))
        self.providers: tuple[str, ...] = ("PyTorch",)

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the module, and return its outputs by name; floating point is float32."""
        (image,) = inputs.values()
        answer = self._module(torch.tensor(image).to(_device(self._module)))
        tensors = answer if isinstance(answer, tuple) else (logits(answer) if len(self._names) == 1 else answer,)
        return {
            name: (tensor.to(torch.float32) if tensor.is_floating_point() else tensor).cpu().numpy()
            for name, tensor in zip(self._names, tensors, strict=True)
        }


def _explained(spec: str, answer: Answer) -> Answer:
    """Return what answers without gradients, and says which model failed on which file."""

    def ask(path: Path) -> Any:
        try:
            with torch.inference_mode():
                return answer(path)
        except ExportError:
            raise
        except Exception as error:  # whatever a model raises
            raise ExportError(f"{spec} fails on {path}: {type(error).__name__}: {error}") from error

    return ask


def _upright(path: Path) -> Image.Image:
    return convert(decode(path.read_bytes(), max_pixels=MAX_PIXELS).image, "RGB")


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
