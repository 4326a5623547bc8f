from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exportweb.card import Output
from exportweb.errors import BadParameter, CardError, ExportwebError
from exportweb.runtime import tasks
from exportweb.runtime.tasks.image_classification import ImageClassification, softmax
from serving import Artifacts


def task(artifacts: Artifacts, *, classes: int | None = 3, **card: Any) -> ImageClassification:
    return ImageClassification(artifacts.card().replace(**card), {"logits": (None, classes)})


def row(*values: float) -> dict[str, Any]:
    return {"logits": np.array(values, np.float32)}


def test_answers_the_likeliest_first(artifacts: Artifacts) -> None:
    one = task(artifacts)
    answer = one.answer(row(1, 3, 2), one.params({"top_k": "2"}))
    total = np.exp([1, 2, 3]).sum()
    assert [each["label"] for each in answer] == ["green", "blue"]
    assert [each["score"] for each in answer] == pytest.approx([np.exp(3) / total, np.exp(2) / total])


def test_probabilities_are_taken_as_they_are(artifacts: Artifacts) -> None:
    one = task(artifacts, outputs=(Output(name="logits", role="probabilities"),))
    assert one.answer(row(0.25, 0.5, 0.25), one.params({"top_k": 1})) == [{"label": "green", "score": 0.5}]


def test_equal_scores_keep_the_order_of_the_classes(artifacts: Artifacts) -> None:
    one = task(artifacts, labels=(), classes=50)
    answer = one.answer(row(*[0.0] * 50), one.params({}))
    assert [each["label"] for each in answer] == ["class_0", "class_1", "class_2", "class_3", "class_4"]


def test_fewer_classes_than_the_default(artifacts: Artifacts) -> None:
    one = task(artifacts)
    assert len(one.answer(row(1, 2, 3), one.params({}))) == 3


def test_parameters_of_a_version_with_more_classes(artifacts: Artifacts) -> None:
    many = task(artifacts, labels=(), classes=50).params({"top_k": "50"})
    assert len(task(artifacts).answer(row(1, 2, 3), many)) == 3


@pytest.mark.parametrize("top_k", ["0", "4", "-1", "1.5", "x", "", "٣", "9" * 5000])
def test_top_k_out_of_range(artifacts: Artifacts, top_k: str) -> None:
    with pytest.raises(BadParameter, match="from 1 to 3"):
        task(artifacts).params({"top_k": top_k})


def test_unknown_parameter_names_the_known_one(artifacts: Artifacts) -> None:
    with pytest.raises(BadParameter, match=r"'topk'.*'top_k'"):
        task(artifacts).params({"topk": "3"})


def test_huge_logits_do_not_overflow() -> None:
    assert softmax(np.array([1e4, 0, -1e4], np.float32)).tolist() == [1, 0, 0]
    assert softmax(np.zeros(4, np.float32)).dtype == np.float32


def test_answers_that_are_not_numbers_are_no_answers(artifacts: Artifacts) -> None:
    one = task(artifacts)
    with pytest.raises(ExportwebError, match="not finite"):
        one.answer(row(float("nan"), 1, 2), one.params({}))


def test_a_card_that_does_not_fit(artifacts: Artifacts) -> None:
    with pytest.raises(CardError, match=r"2 labels.*3 classes"):
        task(artifacts, labels=("a", "b"))
    with pytest.raises(CardError, match="role 'logits' or 'probabilities'; the card has boxes"):
        task(artifacts, outputs=(Output(name="logits", role="boxes"),))
    with pytest.raises(CardError, match="how many classes"):
        task(artifacts, labels=(), classes=None)
    with pytest.raises(CardError, match=r"\[N, classes\]"):
        ImageClassification(artifacts.card(), {"logits": (None, 3, 4)})


def test_an_unknown_task_names_the_known_ones(artifacts: Artifacts) -> None:
    with pytest.raises(CardError, match=r"'poetry'.*image-classification"):
        tasks.load(artifacts.card().replace(task="poetry"), {})


@given(st.lists(st.lists(st.integers(-20, 20), min_size=7, max_size=7), min_size=1, max_size=6), st.integers(1, 7), st.booleans())
def test_a_batch_is_answered_as_its_rows_are(logits: list[list[int]], top_k: int, together: bool) -> None:
    """To the bit; with equal scores, and for whatever part of the classes."""
    model = task(Artifacts(), classes=7, labels=tuple("abcdefg"))
    outputs = {"logits": np.array(logits, np.float32) / 3}
    batch = model.together(outputs)
    for i in range(len(logits)):
        row = {name: rows[i] for name, rows in batch.items()}
        params = model.params({"top_k": top_k} if together else {})
        assert model.answer(row, params) == model.answer({"logits": outputs["logits"][i]}, params)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_row_that_is_no_answer_costs_only_itself(artifacts: Artifacts, bad: float) -> None:
    model = task(artifacts)
    batch = model.together({"logits": np.array([[1, 2, 3], [1, bad, 3], [3, 2, 1]], np.float32)})
    rows = [{name: rows[i] for name, rows in batch.items()} for i in range(3)]
    assert [model.answer(rows[i], model.params({}))[0]["label"] for i in (0, 2)] == ["blue", "red"]
    with pytest.raises(ExportwebError, match="not finite"):
        model.answer(rows[1], model.params({}))
