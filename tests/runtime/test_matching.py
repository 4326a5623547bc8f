from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dots
from exportweb.card import ROLES, Golden
from exportweb.errors import Rejected
from exportweb.runtime import matching, tensors, verify
from exportweb.runtime.images import decode


def objects(count: int = 40, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 400, size=(count, 2))
    return {
        "boxes": np.concatenate([low, low + 50], axis=1).astype(np.float32),
        "scores": np.linspace(1, 0.1, count, dtype=np.float32),
        "classes": random.integers(0, 3, count),
        "masks": random.uniform(size=(count, 7, 7)).astype(np.float32),
    }


def rows(made: dict[str, Any], which: Any) -> dict[str, Any]:
    return {role: array[which].copy() for role, array in made.items()}


def test_the_order_is_no_difference() -> None:
    made = objects()
    other = rows(made, np.random.default_rng(1).permutation(40))
    other["boxes"] += 0.01
    assert matching.difference(made, other, tolerance=1e-3) is None
    found = matching.pairs(made, other, tolerance=1e-3)
    np.testing.assert_array_equal(made["classes"][found.expected], other["classes"][found.got])


def test_objects_at_the_edge_of_the_threshold_may_be_missing() -> None:
    made = objects()
    assert matching.difference(made, rows(made, slice(39)), tolerance=1e-3) is None
    assert matching.difference(rows(made, slice(39)), made, tolerance=1e-3) is None
    assert matching.difference(rows(made, slice(0)), rows(made, slice(0)), tolerance=1e-3) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda made: made | {"boxes": made["boxes"] + 1}, "39 of 40 objects are missing, such as that of score 1.0000"),
        (lambda made: made | {"scores": made["scores"] * 0.9}, "objects are missing"),
        (lambda made: made | {"classes": made["classes"] + 1}, "objects are missing"),
        (lambda made: made | {"masks": made["masks"][::-1]}, "'masks' is off by 0"),
        (lambda made: made | {"masks": made["masks"][:, :6]}, r"'masks' has the shape \[6, 7\] an object; expected is \[7, 7\]"),
        (lambda made: rows(made, slice(20, None)), "20 of 40 objects are missing"),
        (lambda made: {role: np.concatenate([array, array]) for role, array in made.items()}, "39 of 80 objects are too many"),
    ],
)
def test_what_is_a_difference(change: Any, says: str) -> None:
    off = matching.difference(objects(), change(objects()), tolerance=1e-3)
    assert off is not None
    import re

    assert re.search(says, off), off


def test_masks_of_bits_and_detections_of_six() -> None:
    bits = np.zeros((1, 30, 30), bool)
    six = {"detections": np.array([[1, 2, 3, 4, 0.9, 2]], np.float32), "image-masks": bits}
    other = {**six, "image-masks": bits.copy()}
    other["image-masks"][0, :2, :4] = True
    assert matching.difference(six, other, tolerance=1e-3) is None
    other["image-masks"][0, :4] = True
    assert "image-masks" in str(matching.difference(six, other, tolerance=1e-3))


def test_few_keypoints_may_be_where_a_heatmap_is_nearly_as_large() -> None:
    points = np.random.default_rng(2).uniform(0, 400, size=(40, 5, 3)).astype(np.float32)
    for moved, rescored, same in ((10, 0, True), (11, 0, False), (1, 1, True), (3, 3, False)):  # of 200
        other = points.copy()
        other.reshape(-1, 3)[:moved, 0] += 50
        other.reshape(-1, 3)[:rescored, 2] += 1
        off = matching.difference(objects() | {"keypoints": points}, objects() | {"keypoints": other}, tolerance=1e-3)
        assert off == (None if same else "'keypoints' is off by 50; allowed is 0.4"), off


def test_images_of_a_batch_are_compared_one_by_one() -> None:
    made = objects(3)
    batch = {role: np.stack([array, array]) for role, array in made.items()}
    assert [list(image["boxes"].shape) for image in matching.images(batch, ROLES)] == [[3, 4], [3, 4]]
    assert [image is made for image in matching.images(made, ROLES)] == [True]


def test_a_golden_sample_of_objects(tmp_path: Path) -> None:
    """A version whose objects come in another order passes; one that finds another is rejected."""
    pixels = np.asarray(decode(dots.picture(dots.THREE), max_pixels=1000).image.convert("RGB"))[None]
    card = dots.card("instance-segmentation", "masks")
    predictor = dots.predictor(tmp_path, card)
    outputs = predictor.session.run({"image": pixels}, [output.name for output in card.outputs])
    for change, passes in ((lambda array: array[::-1], True), (lambda array: np.concatenate([array[1:], array[1:]]), False)):
        golden = Golden(
            inputs={"image": tensors.encode(pixels)},
            outputs={name: tensors.encode(change(array)) for name, array in outputs.items()},
            tolerance=1e-3,
        )
        checked = dots.predictor(tmp_path, card.replace(golden=golden))
        if passes:
            verify.golden(checked)
        else:
            with pytest.raises(Rejected, match=r"golden sample failed: .* objects are (missing|too many)"):
                verify.golden(checked)
