"""How a model is run: measured on what it does here, not guessed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from exportweb.runtime.tuner import Trial, Tuner, Tuning

CARD = type("Card", (), {"name": "toy"})


class Toy:
    """What a tuner asks of a predictor: runs that take as long as they are told to, without a CPU, so that any number of them fits."""

    device = "cpu"
    max_batch: int | None = None
    card = CARD

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.seconds = seconds

    def blank(self, count: int) -> list[None]:
        return [None] * count

    def infer(self, batch: list[Any]) -> None:
        time.sleep(self.seconds(len(batch)))


def tune(tuner: Tuner, narrow: Toy, wide: Toy, *, disturbed: bool = False) -> Tuning | None:
    return tuner.tune("graph", narrow, lambda threads: wide, disturbed=lambda: disturbed)  # type: ignore[arg-type, return-value]


def test_a_small_model_is_run_in_batches() -> None:
    tuning = tune(Tuner(cpus=2), Toy(lambda n: 0.01 + 0.0001 * n), Toy(lambda n: 0.01 + 0.0001 * n))
    assert tuning is not None
    assert (tuning.runs, tuning.threads, tuning.alone) == (2, 1, 1)
    assert tuning.batch >= 4
    assert tuning.trials[0] == Trial(1, 1, 1, tuning.trials[0].rate)


def test_a_big_model_gets_no_batches_and_a_session_for_runs_that_are_alone() -> None:
    tuning = tune(Tuner(cpus=2), Toy(lambda n: 0.05 * n**2), Toy(lambda n: 0.03 * n**2))
    assert tuning is not None
    assert (tuning.runs, tuning.threads, tuning.alone, tuning.batch) == (2, 1, 2, 1)
    assert "2 when alone" in str(tuning)


def test_runs_that_share_all_cores_are_chosen_where_they_do_more() -> None:
    tuning = tune(Tuner(cpus=2), Toy(lambda n: 0.05 * n), Toy(lambda n: 0.01 * n))
    assert tuning is not None
    assert (tuning.runs, tuning.threads, tuning.alone) == (1, 2, 2)


def test_what_was_measured_is_remembered_for_the_graph() -> None:
    tuner, toy = Tuner(cpus=2), Toy(lambda n: 0.002 * n)
    assert tuner.known("graph") is None
    tuning = tune(tuner, toy, toy)
    assert tuner.known("graph") is tuning
    assert tune(tuner, toy, toy) is None  # there is nothing to measure any more
    assert tuner.known("another") is None


def test_what_was_disturbed_is_not_believed() -> None:
    tuner, toy = Tuner(cpus=2), Toy(lambda n: 0.002 * n)
    assert tune(tuner, toy, toy, disturbed=True) is None
    assert tuner.known("graph") is None


@pytest.mark.parametrize("options", [{"budget": 0}, {"threads": 2, "max_batch": 4}])
def test_nothing_is_measured_where_the_user_decided(options: dict[str, Any]) -> None:
    tuner, toy = Tuner(cpus=2, **options), Toy(lambda n: pytest.fail("it was run"))
    assert tune(tuner, toy, toy) is None
    default = tuner.default(toy)  # type: ignore[arg-type]
    assert (default.runs, default.batch) == ((1, 4) if options.get("threads") else (2, 4))


def test_a_measurement_keeps_to_its_budget() -> None:
    toy = Toy(lambda n: 0.4 * n)
    start = time.perf_counter()
    tuning = tune(Tuner(cpus=2, budget=1.0), toy, toy)
    assert tuning is not None
    assert tuning.batch == 1  # batches were not even tried
    assert time.perf_counter() - start < 4 * tuning.seconds  # it says how long it took
