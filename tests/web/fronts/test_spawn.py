from __future__ import annotations

import pytest

from exportweb.web.fronts import spawn


@pytest.mark.parametrize(("cpus", "suits"), [(1, 0), (7, 0), (8, 8), (12, 12), (64, 16)])
def test_how_many_suit(monkeypatch: pytest.MonkeyPatch, cpus: int, suits: int) -> None:
    monkeypatch.setattr(spawn, "usable_cpus", lambda: cpus)
    assert spawn.suitable() == suits


def test_a_system_without_what_they_need_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spawn.possible()
    monkeypatch.delattr(spawn.os, "memfd_create")
    assert not spawn.possible()
