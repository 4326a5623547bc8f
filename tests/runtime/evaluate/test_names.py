"""Which classes are meant, or why that can't be told."""

from __future__ import annotations

import pytest

from exportweb.errors import DataError
from exportweb.runtime.evaluate.names import Matching, match

LABELS = ["tench", "great white shark", "Cock", "crane", "crane"]


def test_by_name_whatever_the_case() -> None:
    assert match(["cock", "Great_White_Shark"], LABELS, Matching(), what="folders") == {"cock": 2, "Great_White_Shark": 1}


def test_what_does_not_fit_is_shown_from_both_sides() -> None:
    with pytest.raises(DataError) as caught:
        match(["n01440764", "n01484850"], LABELS, Matching(), what="folders in val")
    assert str(caught.value) == (
        "2 of 2 folders in val are not among the model's labels: 'n01440764', 'n01484850'. "
        "The model has 5 labels: 'tench', 'great white shark', 'Cock', 'crane', 'crane'."
    )
    with pytest.raises(DataError, match=r"'crane'. If the data set's classes, in their order, are the model's: --by-index.$"):
        match(["a", "b", "c", "d", "e"], LABELS, Matching(), what="folders")
    with pytest.raises(DataError, match=r"1 of 2 folders .*'dog'.* To leave out what the model has no label for: --known-only.$"):
        match(["tench", "dog"], LABELS, Matching(), what="folders")


def test_a_name_that_two_classes_have_means_neither() -> None:
    with pytest.raises(DataError, match="Several of the model's labels are called 'crane'"):
        match(["crane"], LABELS, Matching(), what="folders")


def test_by_index_when_the_user_says_so() -> None:
    assert match(["a", "b", "c", "d", "e"], LABELS, Matching(by_index=True), what="folders") == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}
    with pytest.raises(DataError, match=r"there are 2 \('a', 'b'\) and 5 \('tench', "):
        match(["a", "b"], LABELS, Matching(by_index=True), what="folders")


def test_what_the_model_does_not_know_can_be_left_out() -> None:
    assert match(["dog", "tench"], LABELS, Matching(known_only=True), what="folders") == {"tench": 0}
    with pytest.raises(DataError, match="2 of 2"):
        match(["dog", "cat"], LABELS, Matching(known_only=True), what="folders")
