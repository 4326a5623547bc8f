"""Versions from files to predictors, and the second session that a version which is asked by few gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exportweb import Store
from exportweb import artifact as artifact_files
from exportweb.runtime import ServedModel
from exportweb.runtime.bench import Bench
from exportweb.runtime.jobs import Live
from exportweb.runtime.loader import Loader
from exportweb.runtime.workers import Workers
from serving import Artifacts


@pytest.fixture
def quicker_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where a run with more threads is over sooner, and runs of one thread each answer more."""

    def time_runs(self: Bench, predictor: Any, runs: int, threads: int, batch: int) -> list[list[float]]:
        return [[batch / (1000.0 * threads**0.8)]] * runs

    monkeypatch.setattr(Bench, "time_runs", time_runs)


@pytest.mark.usefixtures("quicker_alone")
def test_the_next_version_is_run_as_the_first_was_found_to_be(artifacts: Artifacts, tmp_path: Path, picture: Callable[..., bytes]) -> None:
    loader, lives = Loader(cpus=2), []
    paths = [artifacts.write(tmp_path / f"{scale}.onnx", scale=scale) for scale in (1.0, 2.0)]
    for number, path in enumerate(paths):
        card = artifact_files.read(path).card
        assert card is not None
        lives.append(Live(*_versioned(loader, path, card, number)))
        assert loader.tune(path, lives[-1], disturbed=lambda: False)
    first, second = (live.predictor for live in lives)
    assert (first.session.threads, first.alone.threads) == (1, 2)
    assert second.alone is second.session, "nobody has to wait for it, so it isn't there yet"
    before = second.infer([second.prepare(picture())], alone=True)
    loader.complete(paths[1], lives[1])
    second = lives[1].predictor
    assert (second.session.threads, second.alone.threads) == (1, 2)
    after = second.infer([second.prepare(picture())], alone=True)
    assert before[0]["logits"] == pytest.approx(after[0]["logits"], rel=1e-6)
    loader.complete(paths[1], lives[1])
    assert lives[1].predictor is second, "there is nothing left to add"


def _versioned(loader: Loader, path: Path, card: Any, number: int) -> tuple[Any, int, Any]:
    predictor, plan = loader.load(path, card)
    return predictor, number, plan


@pytest.mark.usefixtures("quicker_alone")
def test_under_load_a_version_does_without_the_session_for_runs_that_are_alone(
    artifacts: Artifacts, tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    store, image, quiet = Store(tmp_path / "store"), picture(), threading.Event()
    artifacts.publish(store, epoch=1, slow=0.01)
    model = ServedModel(store.folder, device="cpu", workers=Workers(2))

    def ask() -> None:
        while not quiet.is_set():
            answered = threading.Event()
            model.submit(image, {}, lambda _, event=answered: event.set())
            answered.wait(10)

    def alone() -> tuple[int | None, bool]:
        live = model._lane.current
        return (None, False) if live is None else (live.version, live.predictor.alone is not live.predictor.session)

    def wait(state: tuple[int, bool]) -> None:
        deadline = time.monotonic() + 30
        while alone() != state and time.monotonic() < deadline:
            time.sleep(0.01)
        assert alone() == state

    model.start(wait=True)
    crowd = [threading.Thread(target=ask) for _ in range(6)]
    try:
        wait((1, True))
        for thread in crowd:
            thread.start()
        time.sleep(2.5)  # the builder looks every two seconds, and judges by the runs since
        artifacts.publish(store, epoch=2, slow=0.01, scale=2.0)
        wait((2, False))
        time.sleep(2.5)
        assert alone() == (2, False)
        quiet.set()
        wait((2, True))
    finally:
        quiet.set()
        model.close()
    for thread in crowd:
        thread.join()
