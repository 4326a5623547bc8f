from __future__ import annotations

import numpy as np
import torch

from exportweb.exporters.golden import difference, eager, golden, mosaic
from exportweb.exporters.torch_modules import image_input
from exportweb.runtime.tensors import decode
from models import example


def test_the_sample_is_the_same_every_time_and_fits_into_a_card():
    image = image_input(torch.zeros(3, 224, 160))
    first, second = mosaic(image), mosaic(image)
    assert first.shape == (1, 224, 160, 3) and first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert len(golden(first, np.zeros((1, 4), np.float32)).inputs["image"].data) < 8_000
    assert np.array_equal(mosaic(image, batch=3)[:1], first)


def test_small_and_grey_images_have_one_too():
    assert mosaic(image_input(torch.zeros(1, 5, 7))).shape == (1, 5, 7, 1)


def test_eager_answers_in_evaluation_mode(exporter):
    image = mosaic(image_input(example()), batch=2)
    exporter.graph.twin.train()
    assert np.array_equal(eager(exporter.graph.twin, image), eager(exporter.graph.twin, image))


def test_packing_loses_nothing():
    logits = np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)
    packed = golden(mosaic(image_input(example())), logits)
    assert np.array_equal(decode(packed.outputs["logits"]), logits)


def test_difference_is_relative_to_the_largest_value_above_one():
    one = np.array([[1.0, -200.0]])
    assert difference(one, one) == 0
    assert difference(one + 1, one) == 1 / 200
    assert difference(np.array([0.1]), np.array([0.2])) == 0.1
    assert difference(np.array([np.nan]), np.array([0.2])) == float("inf")
    assert difference(np.zeros((1, 2)), np.zeros((1, 3))) == float("inf")
