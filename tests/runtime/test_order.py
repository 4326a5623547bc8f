"""Which number a version has, and what may follow what. How servers show it is in test_served and test_served_file."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from exportweb.card import Card
from exportweb.errors import Rejected
from exportweb.runtime.order import Order
from exportweb.runtime.sources import Candidate
from serving import Artifacts


@pytest.fixture
def card(artifacts: Artifacts) -> Card:
    return artifacts.card().replace(version=None)


def running(card: Card, version: int) -> Any:
    """A lane that answers from this version."""
    predictor = types.SimpleNamespace(card=card)
    return types.SimpleNamespace(current=types.SimpleNamespace(predictor=predictor, version=version))


IDLE: Any = types.SimpleNamespace(current=None)


def file(number: int | None = None, *, rollback: bool = False) -> Candidate:
    return Candidate(Path("model.onnx"), number, rollback, None)


def made(card: Card, when: str, **others: Any) -> Card:
    values = {name: getattr(card.source, name) for name in card.source.__struct_fields__}
    return card.replace(source=type(card.source)(**{**values, "created": when}), **others)


def test_a_number_is_the_stores_else_the_cards_else_one_more(card: Card) -> None:
    order = Order(IDLE)
    assert order.number(file(7), card.replace(version=3)) == 7
    assert order.number(file(), card.replace(version=3)) == 3
    assert order.number(file(), card) == 1
    order.note(5)
    assert order.number(file(), card) == 6
    assert order.number(file(), card.replace(version=3)) == 3, "a trainer's number stands, whether or not it may follow"


def test_a_cards_number_says_nothing_where_versions_are_counted(card: Card) -> None:
    order = Order(running(card, 5))
    order.note(5)
    assert order.number(file(), card.replace(version=3)) == 6
    assert order.number(file(), card.replace(version=9)) == 9


def test_what_is_rejected_is_not_listed_as_the_running_version(card: Card) -> None:
    order = Order(running(card, 5))
    order.note(5)
    assert order.number_of_rejected(file(), card.replace(version=5)) == 6
    assert order.number_of_rejected(file(), None) == 6
    assert order.number_of_rejected(file(5), card) == 5, "a store's file of that name is what was altered"
    assert order.number_of_rejected(file(), card.replace(version=4)) == 4


def test_only_what_is_newer_follows_unless_going_back_is_meant(card: Card) -> None:
    order = Order(running(card, 5))
    order.check(file(6), card, 6)
    order.check(file(4, rollback=True), card, 4)
    with pytest.raises(Rejected, match="Version 4 is older than 5, which is running"):
        order.check(file(4), card, 4)
    with pytest.raises(Rejected, match="Version 5 was altered"):
        order.check(file(5), card, 5)
    with pytest.raises(Rejected, match="Its task is 'tensor', the running version's 'image-classification'"):
        order.check(file(6), card.replace(task="tensor"), 6)
    Order(IDLE).check(file(1), card, 1)


@pytest.mark.parametrize(
    ("created", "follows"),
    [("2026-11-29T12:00:01Z", True), ("2026-11-29T13:00:01+01:00", True), ("2026-11-29T11:59:59Z", False), ("yesterday", True), ("", True)],
)
def test_a_file_by_itself_is_older_by_when_it_was_made(card: Card, created: str, follows: bool) -> None:
    order = Order(running(made(card, "2026-11-29T12:00:00Z"), 5))
    if follows:
        order.check(file(), made(card, created), 6)
    else:
        with pytest.raises(Rejected, match=r"It was made at 2026-11-29T11:59:59Z, before the version that is running"):
            order.check(file(), made(card, created), 6)
