"""What an image processor does to a picture, and what the card says about it, are the same."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from exportweb.errors import ExportError
from exportweb.runtime.preprocess import Preprocess

transformers = pytest.importorskip("transformers")

from exportweb.exporters.transformers_input import SAME, image_input, scaled

# Processors of families that mean different things by their settings; all resize with Pillow.
PROCESSORS = {
    "squeezed": ("ViTImageProcessorPil", {"size": {"height": 64, "width": 64}}),
    "squeezed, then the centre": ("DeiTImageProcessorPil", {"size": {"height": 73, "width": 73}, "crop_size": {"height": 64, "width": 64}}),
    "shortest edge, then the centre": ("BitImageProcessorPil", {"size": {"shortest_edge": 70}, "crop_size": {"height": 64, "width": 64}}),
    "shortest edge by a percentage": ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 64}, "crop_pct": 0.8}),
    "shortest edge by a rule of its own": (
        "LevitImageProcessorPil",
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
    ),
    "blue first, not normalised": ("MobileViTImageProcessorPil", {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}),
    "divided by its std twice": ("EfficientNetImageProcessorPil", {"size": {"height": 64, "width": 64}, "image_std": [0.4, 0.5, 0.6]}),
}


def make(name: str):
    kind, settings = PROCESSORS[name]
    if not hasattr(transformers, kind):
        pytest.skip(f"this transformers has no {kind}")
    return getattr(transformers, kind)(**settings)


def photo(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", list(PROCESSORS))
def test_pictures_become_what_the_processor_makes_of_them(name):
    processor = make(name)
    image, off = image_input(processor)
    assert off < 0.5
    for picture in (photo(150, 100), photo(80, 130)):
        pixels = Preprocess(image)(picture) / 255.0
        got = ((pixels - image.mean) / image.std).transpose(2, 0, 1)
        assert np.abs(got - np.asarray(processor(picture, return_tensors="pt")["pixel_values"][0])).max() < 1e-4


def test_declared_mean_and_std_are_taken_to_the_last_digit():
    image, _ = image_input(transformers.ViTImageProcessor(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]))
    assert (image.mean, image.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_a_processor_for_another_size():
    processor = scaled(transformers.BitImageProcessor(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}), 112, 112)
    image, off = image_input(processor)
    assert (image.height, image.width, image.resize, image.resize_height) == (112, 112, "shortest", 128)
    assert off <= SAME


def test_a_processor_whose_images_differ_in_size_is_refused():
    processor = transformers.BitImageProcessor(do_center_crop=False, size={"shortest_edge": 64})
    with pytest.raises(ExportError, match=r"makes \[3, 64, 96\] of one picture and \[3, 64, 89\] of another"):
        image_input(processor)
