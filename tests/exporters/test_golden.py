from __future__ import annotations

import msgspec
import numpy as np
import torch

from exportweb.exporters.golden import difference, disagreement, eager, golden, mosaic
from exportweb.exporters.torch_modules import image_input
from exportweb.runtime.tensors import decode
from models import example


def test_the_sample_is_the_same_every_time_and_fits_into_a_card():
    image = image_input(torch.zeros(3, 224, 160))
    first, second = mosaic(image), mosaic(image)
    assert first.shape == (1, 224, 160, 3) and first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert len(golden(first, {"logits": np.zeros((1, 4), np.float32)}).inputs["image"].data) < 8_000
    assert np.array_equal(mosaic(image, batch=3)[:1], first)


def test_small_and_grey_images_have_one_too():
    assert mosaic(image_input(torch.zeros(1, 5, 7))).shape == (1, 5, 7, 1)


def test_eager_answers_in_evaluation_mode(exporter):
    image = mosaic(image_input(example()), batch=2)
    exporter.graph.twin.train()
    first, second = (eager(exporter.graph.twin, image, ["logits"])["logits"] for _ in range(2))
    assert np.array_equal(first, second)


def test_packing_loses_nothing():
    answer = {"logits": np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)}
    packed = golden(mosaic(image_input(example())), answer)
    assert np.array_equal(decode(packed.outputs["logits"]), answer["logits"])


def test_images_of_any_size_have_a_sample_of_the_size_that_is_asked_for():
    image = msgspec.structs.replace(image_input(example()), height=0, width=0)
    assert mosaic(image, size=(24, 40)).shape == (1, 24, 40, 3)


def objects(count: int) -> dict[str, np.ndarray]:
    boxes = np.arange(count, dtype=np.float32)[:, None] * 10 + np.array([0, 0, 10, 10], np.float32)
    return {"boxes": boxes, "scores": np.linspace(1, 0.1, count, dtype=np.float32), "classes": np.arange(count) % 3}


def test_a_card_keeps_no_masks():
    packed = golden(mosaic(image_input(example())), {**objects(3), "masks": np.zeros((3, 28, 28), np.float32)})
    assert packed.outputs.keys() == {"boxes", "scores", "classes"}


def test_difference_is_relative_to_the_largest_value_above_one():
    one = np.array([[1.0, -200.0]])
    assert difference({"a": one}, {"a": one}) == 0
    assert difference({"a": one + 1}, {"a": one}) == 1 / 200
    assert difference({"a": np.array([0.1])}, {"a": np.array([0.2])}) == 0.1
    assert difference({"a": np.array([np.nan])}, {"a": np.array([0.2])}) == float("inf")
    assert difference({"a": np.zeros((1, 2))}, {"a": np.zeros((1, 3))}) == float("inf")


def test_objects_agree_in_any_order_and_what_else_is_answered_in_its_own():
    answer = {**objects(8), "semantic": np.arange(4.0).reshape(1, 2, 2)}
    other = {name: array[::-1] if name != "semantic" else array for name, array in answer.items()}
    assert disagreement(other, answer) is None
    off = disagreement({**other, "classes": other["classes"] + 3}, answer)
    assert off.startswith("7 of 8 objects are missing")  # the last hardly passed the threshold
    assert disagreement({**other, "semantic": -answer["semantic"]}, answer) == "2.0e+00 off"
    batch = {name: np.stack([array, other[name]]) for name, array in answer.items()}
    assert disagreement({name: array[::-1] for name, array in batch.items()}, batch) is None
