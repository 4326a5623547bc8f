from __future__ import annotations

import math

import pytest

from exportweb.runtime.pace import Pace


def test_nothing_is_known_at_first() -> None:
    pace = Pace()
    assert pace.rate == math.inf
    pace.count(4, now=10.0, busy=True)
    assert pace.rate == math.inf


def test_nor_after_a_moment() -> None:
    """One run that the system held up for a tenth of a second doesn't make a queue of a few seem long."""
    pace = Pace()
    pace.count(1, now=0.0, busy=True)
    pace.count(1, now=0.1, busy=True)
    assert pace.rate == math.inf
    for i in range(40):
        pace.count(1, now=0.1 + i * 0.005, busy=True)
    assert pace.rate == pytest.approx(41 / 0.295, rel=0.05)


def test_a_hiccup_is_not_the_pace() -> None:
    """After seconds at 200 answers a second, half a second without any leaves more than half of that."""
    pace = Pace()
    for i in range(1000):
        pace.count(1, now=i * 0.005, busy=True)
    pace.count(1, now=5.5, busy=True)
    assert 100 < pace.rate < 200


def test_answers_are_counted_over_the_time_that_they_took() -> None:
    pace = Pace()
    for i in range(50):
        pace.count(4, now=i * 0.5, busy=True)
    assert pace.rate == pytest.approx(8.0)


def test_two_runs_that_end_at_once_are_one_step() -> None:
    pace = Pace()
    for i in range(100):
        pace.count(2, now=float(i // 2), busy=True)
    assert pace.rate == pytest.approx(4.0, rel=0.1)


def test_time_without_work_is_nobodys() -> None:
    pace = Pace()
    pace.count(1, now=0.0, busy=True)
    pace.count(1, now=0.2, busy=False)
    pace.count(1, now=100.0, busy=True)
    pace.count(1, now=100.2, busy=True)
    assert pace.rate == pytest.approx(5.0, rel=0.1)


def test_nor_is_that_after_what_waited_has_gone_away() -> None:
    pace = Pace()
    pace.count(1, now=0.0, busy=True)
    pace.count(1, now=0.2, busy=True)
    pace.pause()
    pace.count(1, now=100.0, busy=True)
    pace.count(1, now=100.2, busy=True)
    assert pace.rate == pytest.approx(5.0, rel=0.1)


def test_it_follows_a_change() -> None:
    pace = Pace()
    for i in range(100):
        pace.count(1, now=i * 0.01, busy=True)
    for i in range(100):
        pace.count(1, now=1 + i, busy=True)
    assert pace.rate == pytest.approx(1.0, rel=0.05)
