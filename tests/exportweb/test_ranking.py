from __future__ import annotations

import math

import pytest

from exportweb.card import Card, Output, Source, TensorInput
from exportweb.errors import CardError
from exportweb.ranking import Ranking, metric_of

VALUES = {1: 0.5, 2: 0.9, 3: math.nan, 4: 0.9, 6: 0.1}
reads: list[int] = []


def card(number: int) -> Card | None:
    """The cards of six versions: the third's metric is not a number, the fourth is as good as the second, the fifth can't be read."""
    reads.append(number)
    if number == 5:
        raise CardError("The card can't be read.")
    source = Source(framework="torch", model="Net", created="2026-11-29T00:00:00Z", metrics={"accuracy": VALUES[number]})
    return Card(name="net", task="tensor", inputs=(TensorInput(name="x", dtype="float32", shape=(1,)),), outputs=(OUTPUT,), source=source)


OUTPUT = Output(name="y", role="tensor")


@pytest.mark.parametrize(
    ("metric", "versions", "best"),
    [("accuracy", range(1, 7), 4), ("-accuracy", range(1, 7), 6), ("accuracy", [1, 5], 1), ("accuracy", [3, 5], None), ("loss", [1], None)],
)
def test_the_best_has_the_highest_value_or_the_lowest(metric: str, versions: list[int], best: int | None) -> None:
    assert Ranking(card).best(metric, versions) == best


def test_a_card_is_read_once() -> None:
    reads.clear()
    ranking = Ranking(card)
    for _ in range(3):
        ranking.best("accuracy", [1, 2])
    assert reads == [1, 2]
    ranking.forget([1])
    ranking.best("accuracy", [1, 2])
    assert reads == [1, 2, 1]


def test_a_minus_means_the_lowest() -> None:
    assert metric_of("accuracy") == ("accuracy", 1)
    assert metric_of("-loss") == ("loss", -1)
