from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dots
from exportweb.errors import BadParameter, CardError
from exportweb.runtime import Predictor
from exportweb.runtime.tasks.semantic_segmentation import SemanticSegmentation

REGIONS = {(x, y): (0, 200, 0) if x < 6 else (0, 0, 200) for x in range(20) for y in range(10)}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return dots.predictor(tmp_path_factory.mktemp("dots"), dots.card("semantic-segmentation", "semantic"))


def test_regions_the_largest_first(predictor: Predictor) -> None:
    answer = predictor.predict(dots.picture(REGIONS))
    assert [(found["label"], found["score"]) for found in answer] == [("blue", None), ("green", None)]
    with Image.open(io.BytesIO(base64.b64decode(answer[1]["mask"]))) as image:
        assert np.array_equal(np.flatnonzero(np.asarray(image).any(axis=0)), np.arange(6))
    assert [found["label"] for found in predictor.predict(dots.picture(REGIONS), top_k=1, masks="none")] == ["blue"]


def test_as_coco(predictor: Predictor) -> None:
    blue, green = predictor.predict(dots.picture(REGIONS), format="coco")["annotations"]
    assert (green["category_id"], green["bbox"], green["area"]) == (2, [0, 0, 6, 10], 60)
    assert "score" not in blue


def test_what_can_not_be_asked(predictor: Predictor) -> None:
    with pytest.raises(BadParameter, match="Unknown parameter 'threshold'"):
        predictor.predict(dots.picture(REGIONS), threshold=0.5)
    with pytest.raises(BadParameter, match="format=voc is not possible; it is json or coco"):
        predictor.predict(dots.picture(REGIONS), format="voc")


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    card = dots.card("semantic-segmentation", "semantic", labels=("sky", "sea"))
    with pytest.raises(CardError, match="2 labels, but output 'semantic' has 3 classes"):
        dots.predictor(tmp_path, card)
    unnamed = SemanticSegmentation(card.replace(labels=()), {"semantic": (3, None, None)})
    assert unnamed.outputs == ("semantic",)
