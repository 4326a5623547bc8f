from __future__ import annotations

import numpy as np
import pytest

from exportweb.runtime import boxes
from exportweb.runtime.frame import Frame

LETTERBOX = Frame(size=(1280, 480), resized=(640, 240), window=(640, 640), left=0, top=-200)


def test_to_the_upright_picture_and_no_further() -> None:
    placed = np.array([[0, 200, 640, 440], [10, 190, 20, 230], [630, 100, 700, 210]], np.float32)
    upright = boxes.upright(placed.reshape(-1, 2, 2), LETTERBOX).reshape(-1, 4)
    assert upright.tolist() == [[0, 0, 1280, 480], [20, -20, 40, 60], [1260, -200, 1400, 20]]
    assert boxes.clipped(upright, (1280, 480)).tolist() == [[0, 0, 1280, 480], [20, 0, 40, 60], [1260, 0, 1280, 20]]


def test_what_lies_outside_is_empty() -> None:
    cut = boxes.clipped(np.array([[-5, 3, 0, 9], [1, 1, 2, 2], [4, 4, 4, 9]], np.float32), (10, 10))
    assert boxes.not_empty(cut).tolist() == [False, True, False]


def test_scaled_and_clipped_as_detectron2_does() -> None:
    torch = pytest.importorskip("torch")
    structures = pytest.importorskip("detectron2.structures")
    postprocessing = pytest.importorskip("detectron2.modeling.postprocessing")
    random = np.random.default_rng(0)
    placed = (random.uniform(-50, 900, size=(200, 4))).astype(np.float32)
    instances = structures.Instances((800, 1067), pred_boxes=structures.Boxes(torch.from_numpy(placed.copy())), at=torch.arange(200))
    expected = postprocessing.detector_postprocess(instances, 375, 500)
    upright = boxes.clipped(
        boxes.upright(placed.reshape(-1, 2, 2), Frame((500, 375), (1067, 800), (1067, 800), 0, 0)).reshape(-1, 4), (500, 375)
    )
    kept = boxes.not_empty(upright)
    assert np.array_equal(np.flatnonzero(kept), expected.at.numpy())
    assert np.array_equal(upright[kept], expected.pred_boxes.tensor.numpy())


@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_suppression_is_torchvisions(overlap: float) -> None:
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    random = np.random.default_rng(0)
    low = random.uniform(0, 100, size=(500, 2))
    made = np.concatenate([low, low + random.uniform(5, 60, size=(500, 2))], axis=1).astype(np.float32)
    scores, classes = random.uniform(size=500).astype(np.float32), random.integers(0, 3, 500)
    expected = ops.batched_nms(*(torch.from_numpy(array) for array in (made, scores, classes)), overlap).tolist()
    assert 20 < len(expected) < 490
    assert boxes.suppress(made, scores, classes, overlap=overlap, most=500).tolist() == expected
    assert boxes.suppress(made, scores, classes, overlap=overlap, most=7).tolist() == expected[:7]


def test_nothing_to_suppress() -> None:
    assert boxes.suppress(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0), overlap=0.5).tolist() == []


def test_corners() -> None:
    assert boxes.corners(np.array([[10, 20, 4, 6]], np.float32)).tolist() == [[8, 17, 12, 23]]
