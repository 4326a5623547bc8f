from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exportweb.card import ImageInput
from exportweb.runtime import semantic
from exportweb.runtime.frame import frame


def described(**changes: Any) -> ImageInput:
    sides = {"height": 0, "width": 0, "resize_height": 64, "resize_width": 64, "resize": "bounded", "resize_max": 100}
    return ImageInput(**{**sides, "mean": (0.0,) * 3, "std": (1.0,) * 3, **changes})


def torchs(scores: Any, size: tuple[int, int]) -> Any:
    torch = pytest.importorskip("torch")
    large = torch.nn.functional.interpolate(torch.from_numpy(scores)[None], size=size[::-1], mode="bilinear", align_corners=False)
    return large[0].argmax(dim=0).numpy()


@pytest.mark.parametrize("share", [1, 4])
@pytest.mark.parametrize("size", [(200, 150), (37, 51)])
def test_the_best_class_after_pytorchs_resize(size: tuple[int, int], share: int) -> None:
    """Maps as large as the graph's input, and a quarter of it."""
    found = frame(described(), *size)
    scores = np.random.default_rng(0).normal(size=(5, found.window[1] // share, found.window[0] // share)).astype(np.float32)
    assert np.array_equal(semantic.classes(scores, found), torchs(scores, size))


def test_padding_is_cut_off_first() -> None:
    """As detectron2's `sem_seg_postprocess` does: whatever it holds."""
    found = frame(described(height=64, width=64, resize="contain"), 300, 150)
    scores = np.random.default_rng(1).normal(size=(3, 64, 64)).astype(np.float32)
    expected = torchs(np.ascontiguousarray(scores[:, 16:48]), (300, 150))
    scores[2, :16] = scores[2, 48:] = 100
    assert np.array_equal(semantic.classes(scores, found), expected)


def test_regions_whose_inside_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is computed is computed in parts."""
    scores = np.random.default_rng(2).normal(size=(4, 5, 3)).astype(np.float32).repeat(6, 1).repeat(6, 2)
    found = frame(described(resize="none"), 83, 61)
    expected = torchs(scores, (83, 61))
    assert np.array_equal(semantic.classes(scores, found), expected)
    monkeypatch.setattr(semantic, "_SCORES", 4 * 50)
    assert np.array_equal(semantic.classes(scores, found), expected)


def test_a_class_that_is_best_only_in_between() -> None:
    scores = np.array([[[10, 0]], [[0, 10]], [[7, 7]]], np.float32)
    assert semantic.classes(scores, frame(described(resize="none"), 10, 1))[0].tolist() == [0, 0, 0, 0, 2, 2, 1, 1, 1, 1]
