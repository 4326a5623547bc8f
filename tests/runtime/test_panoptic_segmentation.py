from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dots
from exportweb.runtime.masks import Mask
from exportweb.runtime.panoptic import LEAST_STUFF, merge

SIZE = (200, 100)


def disc(x: float, y: float, radius: float) -> Mask:
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    return Mask((columns - x) ** 2 + (rows - y) ** 2 < radius**2, 0, 0, SIZE)


def stuff() -> np.ndarray:
    """Class 1 on the left, 2 on the right, a little of 3, and 0, which stands for things, in the middle."""
    found = np.where(np.arange(SIZE[0]) < 110, 1, 2) * np.ones((SIZE[1], 1), int)
    found[:20, :20] = 3
    found[40:60, 80:100] = 0
    return found


THINGS = [disc(50, 50, 30), disc(85, 50, 30), disc(52, 50, 20), disc(150, 50, 0), disc(150, 50, 10)]
SCORES = [0.9, 0.8, 0.7, 0.65, 0.6]


def test_things_do_not_overlap_and_stuff_fills_what_they_leave() -> None:
    segments = merge(THINGS, stuff())
    assert [(one.thing, one.stuff) for one in segments] == [(0, 0), (1, 0), (4, 0), (None, 1), (None, 2)]
    covered = sum(one.mask.whole().astype(int) for one in segments)
    assert covered.max() == 1
    assert segments[1].mask.area < THINGS[1].area
    assert min(one.mask.area for one in segments[3:]) >= LEAST_STUFF


def test_merged_as_detectron2_merges() -> None:
    torch = pytest.importorskip("torch")
    panoptic = pytest.importorskip("detectron2.modeling.meta_arch.panoptic_fpn")
    structures = pytest.importorskip("detectron2.structures")
    instances = structures.Instances(
        SIZE[::-1],
        scores=torch.tensor(SCORES),
        pred_classes=torch.zeros(5, dtype=torch.int64),
        pred_masks=torch.from_numpy(np.stack([mask.whole() for mask in THINGS])),
    )
    expected, info = panoptic.combine_semantic_and_instance_outputs(instances, torch.from_numpy(stuff()), 0.5, 4096, 0.5)
    segments = merge(THINGS, stuff())
    assert len(segments) == len(info)
    for one, other in zip(segments, info, strict=True):
        assert np.array_equal(one.mask.whole(), expected.numpy() == other["id"])
        assert (one.thing, one.stuff) == ((other["instance_id"], 0) if other["isthing"] else (None, other["category_id"]))


def test_things_have_scores_and_stuff_has_none(tmp_path: Path) -> None:
    """A dot on a green ground: the channels are things, green and blue."""
    card = dots.card("panoptic-segmentation", "masks", "semantic", stuff=("things", "grass", "sky"))
    predictor = dots.predictor(tmp_path, card)
    ground = {(x, y): (0, 100, 0) for x in range(100) for y in range(80)}
    picture = dots.picture(ground | {(50, 40): (250, 0, 0)}, (100, 80))
    thing, grass = predictor.predict(picture)
    assert (thing["label"], grass["label"], grass["score"]) == ("red", "grass", None)
    assert thing["score"] == pytest.approx(250 / 255)
    coco = predictor.predict(picture, format="coco")
    assert [one["category_id"] for one in coco["annotations"]] == [1, 4]
    assert [one["name"] for one in coco["categories"]] == ["red", "green", "blue", "grass", "sky"]
    assert [one["area"] for one in coco["annotations"]] == [1, 7999]
    assert len(predictor.predict(picture, top_k=1)) == 1
