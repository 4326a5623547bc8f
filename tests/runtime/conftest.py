"""Served models for the runtime's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exportweb import Store
from versions import Served


@pytest.fixture
def serve_model() -> Iterator[Callable[..., Served]]:
    """A starter of served models, which are closed after the test."""
    models: list[Served] = []

    def start(path: Path, *, wait: bool = True, **options: Any) -> Served:
        models.append(Served(path, **options))
        models[-1].model.start(wait=wait)
        return models[-1]

    yield start
    for one in models:
        one.model.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that is not there yet."""
    return Store(tmp_path / "store")
