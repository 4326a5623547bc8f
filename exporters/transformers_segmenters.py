"""transformers' segmenters: SegFormer and others ``ForSemanticSegmentation``, which score the class of each place of an image."""

from __future__ import annotations

import msgspec
from torch import nn

from exportweb.card import Output
from exportweb.exporters import transformers_models
from exportweb.exporters.frameworks import Description, Hints
from exportweb.exporters.image_model import Segmenter

_SAMPLE = 64, 96  # pixels of the golden sample of a graph for images of any size: its answer travels in the card

architecture = transformers_models.architecture


def recognises(model: nn.Module) -> bool:
    """Whether it is a `PreTrainedModel` for semantic segmentation that takes nothing but ``pixel_values``."""
    return transformers_models.is_for(model, "SemanticSegmentation")


def describe(model: nn.Module, hints: Hints) -> Description:
    """Ask the image processor as `transformers_models.describe` does; where the configuration names no size, the graph is for any.

    The scores are as coarse as the model gives them: a server resizes them to the picture as the processor's
    ``post_process_semantic_segmentation`` does.
    """
    image = transformers_models.prepared(model, hints)
    if image.resize == "exact" and not transformers_models.sized(model):
        image = msgspec.structs.replace(image, height=0, width=0)
    return Description(
        framework="transformers",
        architecture=architecture(model),
        input=image,
        labels=transformers_models.labels(model),
        packages=("torch", "transformers"),
        task="semantic-segmentation",
        outputs=(Output(name="semantic", role="semantic"),),
        wrap=Segmenter,
        sample=_SAMPLE,
    )
