"""Served models, and pools of workers, for the runtime's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exportweb import Store
from exportweb.runtime import Predictor
from exportweb.runtime.jobs import Live, Plan
from exportweb.runtime.workers import Workers
from pools import ON_CPU, Pool
from serving import Artifacts
from versions import WAIT, Served


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


@pytest.fixture
def pool() -> Iterator[Callable[..., Pool]]:
    """A maker of pools, which are closed after the test."""
    pools: list[Pool] = []

    def make(live: Live | None, workers: Workers | None = None, **options: Any) -> Pool:
        pools.append(Pool(live, workers, **options))
        return pools[-1]

    yield make
    for one in pools:
        one.lane.close(grace=WAIT)


@pytest.fixture
def live(tmp_path: Path, artifacts: Artifacts) -> Callable[..., Live]:
    """A maker of loaded versions."""

    def make(version: int = 1, plan: Plan = ON_CPU) -> Live:
        path = artifacts.write(tmp_path / f"{version}.onnx", scale=float(version))
        return Live(Predictor.load(path, device="cpu", threads=1), version, plan)

    return make
