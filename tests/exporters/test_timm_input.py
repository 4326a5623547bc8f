"""timm's data configs as the card's input. That both prepare the same bits, tests/runtime/test_preprocess.py shows."""

from __future__ import annotations

from typing import Any

import pytest

from exportweb.errors import ExportError
from exportweb.exporters.timm_input import image_input

# What timm.data.resolve_model_data_config gives for resnet18.
RESNET18: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "crop_pct": 0.95,
    "crop_mode": "center",
}


def test_center_resizes_the_shortest_edge() -> None:
    input = image_input(RESNET18)

    assert (input.height, input.width, input.color, input.channels) == (224, 224, "RGB", 3)
    assert (input.resize, input.resize_height, input.resize_width) == ("shortest", 235, 235)  # floor(224 / 0.95)
    assert (input.dtype, input.layout, input.name, input.interpolation) == ("uint8", "NHWC", "image", "bicubic")
    assert (input.mean, input.std, input.fill) == (RESNET18["mean"], RESNET18["std"], (0,))


def test_an_empty_config_has_timms_defaults() -> None:
    assert image_input({}) == image_input({**RESNET18, "crop_pct": 0.875})


@pytest.mark.parametrize(
    ("changes", "resize", "height", "width", "fill"),
    [
        ({"crop_mode": "squash"}, "exact", 235, 235, (0,)),
        ({"crop_mode": "border", "crop_pct": 1.0}, "contain", 224, 224, (124, 116, 104)),
        ({"input_size": (3, 1024, 768), "crop_pct": 1.0}, "cover", 1024, 768, (0,)),
        ({"crop_pct": 1.15}, "shortest", 194, 194, (0,)),
        ({"crop_pct": None, "crop_mode": None}, "shortest", 256, 256, (0,)),
    ],
)
def test_crop_modes(changes: dict[str, Any], resize: str, height: int, width: int, fill: tuple[int, ...]) -> None:
    input = image_input({**RESNET18, **changes})

    assert (input.resize, input.resize_height, input.resize_width, input.fill) == (resize, height, width, fill)


def test_the_model_may_be_of_another_size_than_its_weights() -> None:
    input = image_input(RESNET18, size=(96, 64), channels=1)

    assert (input.height, input.width, input.color) == (96, 64, "L")
    assert (input.resize, input.resize_height, input.resize_width) == ("cover", 101, 67)
    assert input.mean == pytest.approx((0.449,))
    assert len(input.std) == 1


def test_one_mean_serves_all_channels() -> None:
    assert image_input({**RESNET18, "mean": (0.5,), "std": (0.25,)}).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (4, 224, 224)}, "takes 4 channels; pictures have 3"),
        ({"interpolation": "random"}, "Unknown interpolation 'random'; known are nearest, box"),
        ({"crop_mode": "five"}, "Unknown crop mode 'five'; known are 'center'"),
        ({"input_size": (3, 0, 224)}, "is not a side"),
        ({"mean": (0.1, 0.2)}, "takes 3 channels but mean has 2 values"),
    ],
)
def test_what_no_picture_can_be_prepared_for(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        image_input({**RESNET18, **changes})
