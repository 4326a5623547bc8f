"""How values are shown."""

from __future__ import annotations

import time

import pytest

from exportweb.cli.table import metrics, size, table, when


def test_a_table_is_aligned() -> None:
    assert table([("a", "1"), ("long", "22")], right=(1,)) == "a      1\nlong  22"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (44_700_000, "44.7 MB"), (999_999, "1.0 MB"), (2e15, "2000.0 TB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        assert when("2026-01-02T03:04:05.678+00:00") == when("2026-01-02T03:04:05Z") == "2026-01-02 05:04:05"
        assert when("2026-01-02T03:04:05") == "2026-01-02 05:04:05"
        assert when("yesterday") == "yesterday"
        assert when(None) == "-"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_metrics_in_four_digits() -> None:
    assert metrics({"accuracy": 0.973111, "loss": 0.0812}) == "accuracy 0.9731, loss 0.0812"
    assert metrics({}) == "-"
