from __future__ import annotations

import pytest
import torch

from exportweb.errors import ExportError
from exportweb.exporters.frameworks import Hints, describe
from exportweb.exporters.torch_modules import channels, image_input, overrule
from models import Tiny


def test_the_example_says_what_images_the_model_takes():
    image = image_input(torch.zeros(8, 3, 32, 48), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    assert (image.height, image.width, image.color, image.resize) == (32, 48, "RGB", "exact")
    assert image.mean == (0.5, 0.5, 0.5) and image.std == (0.2, 0.2, 0.2)


def test_without_mean_and_std_values_go_from_zero_to_one():
    image = image_input(torch.zeros(1, 28, 28))
    assert (image.color, image.mean, image.std) == ("L", (0.0,), (1.0,))


def test_a_plain_module_is_described_by_its_class():
    about = describe(Tiny(), Hints(torch.zeros(3, 8, 8)))
    assert (about.framework, about.architecture, about.labels) == ("torch", "Tiny", None)


@pytest.mark.parametrize("shape", [(3,), (8, 8), (2, 4, 8, 8), (1, 2, 3, 8, 8)])
def test_what_is_no_image_is_refused_with_its_shape(shape):
    with pytest.raises(ExportError, match=r"\[N, C, H, W\] with 1 or 3 channels.*it has shape"):
        image_input(torch.zeros(shape))


def test_mean_and_std_have_a_value_for_each_channel_or_one_for_all():
    assert image_input(torch.zeros(3, 8, 8), std=(0.5,)).std == (0.5, 0.5, 0.5)
    with pytest.raises(ExportError, match="takes 3 channels but std has 2 values"):
        image_input(torch.zeros(3, 8, 8), std=(0.5, 0.5))


def test_what_the_user_says_goes_before_what_a_framework_says():
    said = image_input(torch.zeros(3, 32, 48), mean=(0.3, 0.4, 0.5), std=(0.1, 0.2, 0.3))
    assert overrule(said, Hints()) == said
    assert overrule(said, Hints(mean=(0.0, 0.1, 0.2))).mean == (0.0, 0.1, 0.2)
    small = overrule(said, Hints(torch.zeros(3, 8, 8), std=(1.0, 1.0, 1.0)))
    assert (small.height, small.width, small.mean, small.std) == (8, 8, said.mean, (1.0, 1.0, 1.0))
    grey = overrule(said, Hints(torch.zeros(1, 8, 8)))
    assert (grey.color, grey.mean, grey.std) == ("L", pytest.approx((0.4,)), pytest.approx((0.2,)))
    with pytest.raises(ExportError, match="takes 3 channels but std has 2 values"):
        overrule(said, Hints(std=(0.5, 0.5)))


def test_the_first_convolution_says_how_many_channels():
    assert channels(Tiny()) == 3
    assert channels(torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 8, 3))) == 1
    with pytest.raises(ExportError, match="takes 4 channels; pictures have 3"):
        channels(torch.nn.Conv2d(4, 8, 3))
