from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dots
from exportweb.card import Output
from exportweb.errors import BadParameter, CardError
from exportweb.runtime import Predictor
from exportweb.runtime.reader import Prepared
from exportweb.runtime.tasks.instance_segmentation import InstanceSegmentation

PICTURE = dots.picture(dots.THREE)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return dots.predictor(tmp_path_factory.mktemp("dots"), dots.card("instance-segmentation", "masks"))


def test_each_object_has_a_mask_as_large_as_the_picture(predictor: Predictor) -> None:
    red, green = predictor.predict(PICTURE)
    assert list(red) == ["label", "score", "box", "mask"]
    for found, place in ((red, (17, 9)), (green, (3, 2))):
        with Image.open(io.BytesIO(base64.b64decode(found["mask"]))) as image:
            assert (image.mode, image.size) == ("L", (20, 10))
            y, x = np.nonzero(np.asarray(image))
            assert (x.tolist(), y.tolist()) == ([place[0]], [place[1]])


def test_masks_as_run_lengths_or_not_at_all(predictor: Predictor) -> None:
    red, _ = predictor.predict(PICTURE, masks="rle")
    assert red["mask"]["size"] == [10, 20]
    assert isinstance(red["mask"]["counts"], str)
    assert [list(found) for found in predictor.predict(PICTURE, masks="none")] == [["label", "score", "box"]] * 2
    with pytest.raises(BadParameter, match="masks=gif is not possible; it is png, rle or none"):
        predictor.predict(PICTURE, masks="gif")


def answer(paste: Any, role: str, masks: Any, size: tuple[int, int] = (12, 8)) -> Any:
    outputs = ("boxes", "scores")
    card = dots.card("instance-segmentation")
    card = card.replace(outputs=(*(Output(name=name, role=name) for name in outputs), Output(name="m", role=role, paste=paste)))
    task = InstanceSegmentation(card, {})
    row = {"boxes": np.array([[2, 2, 5.6, 5.6]], np.float32), "scores": np.ones(1, np.float32), "m": masks}
    (found,) = task.answer(row, task.params({"masks": "rle", "format": "coco"}), Prepared({}, {}, size))["annotations"]
    return found


def test_the_card_says_how_masks_are_pasted() -> None:
    """Into 3.6 pixels: sampled at the centres of 4, or resized to the 5 whole ones that the grown box touches."""
    masks = np.ones((1, 14, 14), np.float32)
    assert answer("continuous", "masks", masks)["area"] == 16
    assert answer("integer", "masks", masks)["area"] == 25


def test_masks_of_the_whole_picture() -> None:
    masks = np.zeros((1, 8, 12), np.float32)
    masks[0, 1:3, 4:9] = 0.7
    assert answer("continuous", "image-masks", masks)["area"] == 10


def test_a_card_without_masks() -> None:
    with pytest.raises(CardError, match="instance segmentation needs an output of the role 'masks' or 'image-masks'; the card has boxes"):
        InstanceSegmentation(dots.card("instance-segmentation"), {})
