from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exportweb.runtime.keypoints import cubic, decode

BOXES = np.array([(3.25, 4.5, 90.75, 70.25), (10, 10, 10.25, 10.5), (0, 0, 333.5, 251)], np.float32)


def heatmaps(seed: int = 0) -> Any:
    return (np.random.default_rng(seed).normal(size=(len(BOXES), 17, 56, 56)) * 4).astype(np.float32)


def test_points_are_torchvisions() -> None:
    torch = pytest.importorskip("torch")
    roi_heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    maps = heatmaps()
    points, _ = roi_heads.heatmaps_to_keypoints(torch.from_numpy(maps), torch.from_numpy(BOXES))
    for heatmap, box, expected in zip(maps, BOXES, points.numpy(), strict=True):
        np.testing.assert_allclose(decode(heatmap, box)[:, :2], expected[:, :2], rtol=1e-6)


def test_points_and_scores_are_detectron2s() -> None:
    torch = pytest.importorskip("torch")
    keypoints = pytest.importorskip("detectron2.structures.keypoints")
    maps = heatmaps(1)
    points = keypoints.heatmaps_to_keypoints(torch.from_numpy(maps), torch.from_numpy(BOXES))[:, :, [0, 1, 3]]
    for heatmap, box, expected in zip(maps, BOXES, points.numpy(), strict=True):
        np.testing.assert_allclose(decode(heatmap, box), expected, rtol=1e-4)


def test_a_peak_is_found_where_it_is_with_its_share_of_the_softmax() -> None:
    heatmap = np.zeros((1, 10, 10), np.float32)
    heatmap[0, 3, 7] = 50
    ((x, y, score),) = decode(heatmap, np.array([100, 200, 110, 210], np.float32))
    assert (x, y) == (107.5, 203.5)
    assert score == pytest.approx(1)
    ((_, _, even),) = decode(np.zeros((1, 10, 10), np.float32), np.array([0, 0, 10, 10], np.float32))
    assert even == pytest.approx(0.01)


@pytest.mark.parametrize(("count", "size"), [(5, 5), (9, 4), (4, 9), (1, 3)])
def test_a_constant_stays_one(count: int, size: int) -> None:
    np.testing.assert_allclose(cubic(count, size).sum(axis=1), 1, atol=1e-6)
