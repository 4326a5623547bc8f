from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from exportweb.card import Card, Output, Source
from exportweb.errors import BadParameter, CardError
from exportweb.runtime import File
from exportweb.runtime.reader import Prepared
from exportweb.runtime.tasks.tensor import Tensor

ASKED = Prepared({}, {})


def task(*outputs: str) -> Tensor:
    source = Source(framework="numpy", model="none", created="2026-01-02T03:04:05+00:00")
    card = Card(name="arrays", task="tensor", outputs=tuple(Output(name=name, role="tensor") for name in outputs), source=source)
    return Tensor(card, dict.fromkeys(outputs, (None,)))


def test_the_outputs_by_name() -> None:
    one = task("label", "scores")
    row = {"label": np.array([1]), "scores": [{0: 0.25, 1: 0.75}], "other": np.zeros(9)}
    assert one.answer(row, one.params({}), ASKED) == {"outputs": {"label": [1], "scores": [{"0": 0.25, "1": 0.75}]}}


def test_a_file_keeps_what_json_has_no_word_for() -> None:
    one = task("y", "words")
    y, words = np.array([np.nan, np.inf], np.float16), np.array(["ü"], object)
    file = one.answer({"y": y, "words": words}, one.params({"format": "npz"}), ASKED)
    assert isinstance(file, File) and file.media_type == "application/x-npz"
    with np.load(io.BytesIO(file.data)) as back:
        np.testing.assert_array_equal(back["y"], y)
        assert (back["y"].dtype, back["words"].tolist()) == (np.float16, ["ü"])


def test_a_file_of_maps() -> None:
    one = task("scores")
    with pytest.raises(BadParameter, match="'scores' is a list of maps"):
        one.answer({"scores": [{0: 1.0}]}, one.params({"format": "npz"}), ASKED)


@pytest.mark.parametrize(
    ("given", "says"), [({"top_k": "1"}, "'top_k'; .* knows 'format'"), ({"format": "xml"}, "format=xml .* json or npz")]
)
def test_parameters_that_it_does_not_know(given: dict[str, Any], says: str) -> None:
    with pytest.raises(BadParameter, match=says):
        task("y").params(given)


def test_a_card_without_outputs() -> None:
    with pytest.raises(CardError, match="names no output"):
        task()
