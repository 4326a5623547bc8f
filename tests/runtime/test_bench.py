"""How fast runs are, on a machine that is elsewhere now and then."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from exportweb.runtime.bench import Bench, Disturbed


class Sleeper:
    """What stands in for a model: its runs take a time each, the next of these, over and over."""

    def __init__(self, *seconds: float) -> None:
        self._next = itertools.cycle(seconds)

    def blank(self, count: int) -> list[int]:
        return [0] * count

    def infer(self, images: list[int]) -> None:
        time.sleep(next(self._next))


def test_a_run_in_which_the_machine_was_elsewhere_is_not_believed() -> None:
    """Each is timed at least three times, the first apart, which allocates; the machine is away in the second."""
    bench = Bench(10, lambda: False, contextlib.nullcontext)
    assert bench.rate(Sleeper(0.11, 1.0, 0.11, 0.11), 1, 1, 2) > 2 / 0.5  # type: ignore[arg-type]


def test_runs_beside_each_other_have_all_allocated_before_they_are_timed() -> None:
    """A run beside more of them than ever before takes longer; of a slow model only one more each is timed."""

    class Allocating(Sleeper):
        beside = most = 0

        def infer(self, images: list[int]) -> None:
            self.beside += 1
            before, self.most = self.most, max(self.most, self.beside)
            time.sleep(0.8 if self.beside > before else 0.2)
            self.beside -= 1

    bench = Bench(1, lambda: False, contextlib.nullcontext)
    assert bench.rate(Allocating(0.2), 2, 1, 1) > 2 / 0.25  # type: ignore[arg-type]


def test_a_very_slow_model_is_timed_for_a_part_of_the_budget() -> None:
    turns = []

    @contextmanager
    def turn() -> Iterator[None]:
        turns.append(1)
        yield

    bench = Bench(1, lambda: False, turn)
    bench.rate(Sleeper(0.2), 1, 1, 1)  # type: ignore[arg-type]
    assert len(turns) == 2, "the run that is timed takes its part of the budget, and isn't made three times"
    bench.rate(Sleeper(0.11), 1, 1, 1)  # type: ignore[arg-type]
    assert 3 < len(turns) <= 6, "each run that is long enough has a turn of its own, so that requests wait for no more than one"


def test_what_is_measured_again_is_added_to_what_was_measured_before() -> None:
    """Two of three measurements are disturbed by half; all the time, a third of the runs is as quick as it should be."""
    bench = Bench(10, lambda: False, contextlib.nullcontext)
    for slow in (0.03, 0.01, 0.03):
        bench.rate(Sleeper(0.01, slow), 1, 1, 4)  # type: ignore[arg-type]
    assert [(trial.runs, trial.threads, trial.batch) for trial in bench.trials()] == [(1, 1, 4)]
    assert bench.trials()[0].rate == pytest.approx(4 / 0.01, rel=0.2)


@pytest.mark.parametrize(("seconds", "quick"), [(0.01, True), (0.1, False)])
def test_only_what_is_quick_is_worth_measuring_again(seconds: float, quick: bool) -> None:
    bench = Bench(10, lambda: False, contextlib.nullcontext)
    bench.rate(Sleeper(seconds), 1, 1, 1)  # type: ignore[arg-type]
    assert bench.quick(1, 1, 1) is quick
    bench.seconds = 5.0
    assert not bench.quick(1, 1, 1, share=0.5), "that share of the budget is spent"
    bench.seconds = 9.99
    assert not bench.quick(1, 1, 1), "there is no budget left for it"


def test_what_is_disturbed_says_so() -> None:
    bench = Bench(10, lambda: True, contextlib.nullcontext)
    with pytest.raises(Disturbed):
        bench.rate(Sleeper(0.01), 1, 1, 1)  # type: ignore[arg-type]
    assert not bench.trials()
