"""What two answers have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exportweb.runtime.evaluate.agreement import SameClass, SameObjects, SamePixels


def test_scores() -> None:
    same = SameClass()
    same.add(np.array([0.9, 0.1], np.float32), np.array([0.8, 0.2], np.float32))
    same.add(np.array([0.4, 0.6], np.float32), np.array([0.6, 0.4], np.float32))
    assert same.result() == {"same top class": 0.5, "largest difference of a score": pytest.approx(0.2)}


def thing(category: int, score: float, *box: float) -> dict[str, Any]:
    return {"category_id": category, "score": score, "bbox": list(box)}


def test_objects_in_any_order() -> None:
    same = SameObjects()
    one = [thing(1, 0.9, 0, 0, 10, 10), thing(2, 0.6, 0, 0, 10, 10), thing(1, 0.01, 50, 50, 5, 5)]
    same.add(one, [thing(2, 0.58, 0, 1, 10, 10), thing(1, 0.9, 0, 0, 10, 10)])
    assert same.result() == {
        "same objects": 1.0,  # the third is too doubtful to be missed
        "largest difference of a score": pytest.approx(0.02),
        "largest difference of a side, in pixels": 1.0,
    }


def test_objects_that_only_one_has() -> None:
    """Of another class, elsewhere, twice where the other has one, or at all."""
    same = SameObjects()
    same.add([thing(1, 0.9, 0, 0, 10, 10)], [thing(2, 0.9, 0, 0, 10, 10)])
    same.add([thing(1, 0.9, 0, 0, 10, 10)], [thing(1, 0.9, 8, 8, 10, 10)])
    same.add([thing(1, 0.9, 0, 0, 10, 10), thing(1, 0.8, 0, 0, 10, 10)], [thing(1, 0.9, 0, 0, 10, 10)])
    same.add([], [thing(1, 0.9, 0, 0, 10, 10)])
    same.add([], [])
    assert same.result()["same objects"] == pytest.approx(2 / 8)


def test_pixels() -> None:
    same = SamePixels()
    same.add(np.array([[0, 1], [2, 2]]), np.array([[0, 1], [2, 1]]))
    assert same.result() == {"same pixels": 0.75}
