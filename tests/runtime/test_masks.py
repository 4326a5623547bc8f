"""Masks: pasted as torchvision and detectron2 paste them, written as COCO writes them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exportweb.card import ImageInput
from exportweb.runtime.frame import frame
from exportweb.runtime.masks import Mask, in_frame, paste

SIZE = (120, 90)


def random_masks(count: int, side: int = 28, seed: int = 0) -> tuple[Any, Any]:
    """Smooth probabilities, and boxes inside the picture, across its edges' pixels, tiny and as large as it."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(size=(count, 7, 7)).astype(np.float32)
    masks = np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in coarse])
    low = random.uniform(0, 60, size=(count, 2))
    boxes = np.concatenate([low, np.minimum(low + random.uniform(0.3, 80, size=(count, 2)), SIZE)], axis=1).astype(np.float32)
    boxes[0], boxes[1], boxes[2] = (0, 0, *SIZE), (0, 0, 1.5, 0.75), (118.5, 88.25, 120, 90)
    return masks.clip(0, 1), boxes


def ours(masks: Any, boxes: Any, how: Any) -> Any:
    return np.stack([paste(mask, box, SIZE, how).whole() for mask, box in zip(masks, boxes, strict=True)])


def test_integer_is_torchvisions() -> None:
    torch = pytest.importorskip("torch")
    roi_heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    masks, boxes = random_masks(60)
    expected = roi_heads.paste_masks_in_image(torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), SIZE[::-1])[:, 0] >= 0.5
    assert 0.05 < expected.float().mean() < 0.9
    assert np.array_equal(ours(masks, boxes, "integer"), expected.numpy())


@pytest.mark.parametrize("side", [14, 28])
def test_continuous_is_grid_sample(side: int) -> None:
    """What detectron2's `paste_masks_in_image` calls, on the whole picture."""
    torch = pytest.importorskip("torch")
    masks, boxes = random_masks(60, side)
    x0, y0, x1, y1 = torch.from_numpy(boxes).split(1, dim=1)
    y = (torch.arange(SIZE[1]) + 0.5 - y0) / (y1 - y0) * 2 - 1
    x = (torch.arange(SIZE[0]) + 0.5 - x0) / (x1 - x0) * 2 - 1
    grid = torch.stack([x[:, None, :].expand(-1, SIZE[1], -1), y[:, :, None].expand(-1, -1, SIZE[0])], dim=3)
    expected = torch.nn.functional.grid_sample(torch.from_numpy(masks)[:, None], grid, align_corners=False)[:, 0] >= 0.5
    assert np.array_equal(ours(masks, boxes, "continuous"), expected.numpy())


def test_continuous_is_detectron2s() -> None:
    layers = pytest.importorskip("detectron2.layers.mask_ops")
    torch = pytest.importorskip("torch")
    masks, boxes = random_masks(200, seed=1)
    expected = layers.paste_masks_in_image(torch.from_numpy(masks), torch.from_numpy(boxes), SIZE[::-1], threshold=0.5)
    assert np.array_equal(ours(masks, boxes, "continuous"), expected.numpy())


def test_the_two_differ_by_little() -> None:
    masks, boxes = random_masks(60)
    off = ours(masks, boxes, "continuous") != ours(masks, boxes, "integer")
    assert 0 < off.mean() < 0.02


def letterbox(**changes: Any) -> ImageInput:
    sides = {"height": 64, "width": 64, "resize_height": 64, "resize_width": 64, "resize": "contain"}
    return ImageInput(**{**sides, "mean": (0.0,) * 3, "std": (1.0,) * 3, **changes})


def test_a_mask_of_the_whole_input_loses_its_padding() -> None:
    """[64, 64] of a picture of 128 x 64: the rows from 16 to 48 are the picture's; what is around them is not looked at."""
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    mask = random.uniform(size=(64, 64)).astype(np.float32)
    mask[:16] = mask[48:] = 1
    found = in_frame(mask, frame(letterbox(), 128, 64))
    inside = torch.from_numpy(mask[16:48])[None, None]
    expected = torch.nn.functional.interpolate(inside, size=(64, 128), mode="bilinear", align_corners=False)[0, 0] >= 0.5
    assert np.array_equal(found.whole(), expected.numpy())


def test_a_mask_of_bits_is_kept_as_it_is() -> None:
    mask = np.random.default_rng(0).uniform(size=(9, 13)) > 0.5
    found = in_frame(mask, frame(letterbox(height=0, width=0, resize="none"), 13, 9))
    assert np.array_equal(found.whole(), mask)
    assert found.area == mask.sum()


# -- what masks are written as


MASKS = {
    "none": np.zeros((5, 4), bool),
    "all": np.ones((5, 4), bool),
    "a corner": np.pad(np.ones((2, 2), bool), ((0, 3), (0, 2))),
    "the last pixel": np.pad(np.ones((1, 1), bool), ((4, 0), (3, 0))),
    "two whole columns": np.repeat([[False, True, True, False]], 5, axis=0),
    "stripes": np.tile([[True], [False], [True]], (1, 9)),
    "noise": np.random.default_rng(0).uniform(size=(300, 200)) > 0.5,
    "long runs": np.random.default_rng(1).uniform(size=(3, 5)).repeat(400, 0).repeat(300, 1) > 0.5,
}


def decoded(rle: dict[str, Any]) -> Any:
    """Read COCO's compressed run lengths, by their description, as a program of another hand would."""
    runs: list[int] = []
    text, at = rle["counts"].encode("ascii"), 0
    while at < len(text):
        value = shift = 0
        more = True
        while more:
            group = text[at] - 48
            value |= (group & 31) << shift
            more, shift, at = bool(group & 32), shift + 5, at + 1
            if not more and group & 16:
                value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    height, width = rle["size"]
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


@pytest.mark.parametrize("name", list(MASKS))
def test_run_lengths(name: str) -> None:
    mask = MASKS[name]
    rle = Mask(mask, 0, 0, mask.shape[::-1]).rle()
    assert rle["size"] == list(mask.shape)
    assert np.array_equal(decoded(rle), mask)


@pytest.mark.parametrize("name", list(MASKS))
def test_run_lengths_are_pycocotools(name: str) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    mask = MASKS[name]
    expected = coco.encode(np.asfortranarray(mask, np.uint8))
    assert Mask(mask, 0, 0, mask.shape[::-1]).rle() == {"size": expected["size"], "counts": expected["counts"].decode()}


def test_a_window_is_written_as_the_whole_would_be() -> None:
    window = np.random.default_rng(2).uniform(size=(6, 5)) > 0.4
    part = Mask(window, 3, 2, (20, 15))
    whole = Mask(part.whole(), 0, 0, (20, 15))
    assert part.rle() == whole.rle()
    assert part.box == whole.box
    touching = Mask(np.ones((15, 5), bool), 3, 0, (20, 15))
    assert touching.runs().tolist() == [45, 75, 180]


def test_a_png_is_grey_and_as_large_as_the_picture() -> None:
    mask = Mask(np.ones((2, 3), bool), 4, 1, (10, 8))
    with Image.open(io.BytesIO(base64.b64decode(mask.png()))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (10, 8))
        assert np.array_equal(np.asarray(image), mask.whole() * 255)
    assert mask.box == (4, 1, 7, 3)
    assert Mask(np.zeros((2, 2), bool), 1, 1, (4, 4)).box == (0, 0, 0, 0)
