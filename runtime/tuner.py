"""The tuner: how a model is run on this machine, measured instead of guessed.

What matters on a CPU is how many runs go on beside each other, how many threads each has, and how many images. Small models want
batches, if only because there are fewer runs then to be handed from thread to thread; big ones don't. Several runs of one thread each do
most a second, but a run that has the machine to itself is over sooner with all of its cores. Where both are true, a version gets two
sessions, one for each. On a GPU only the batch is open.

What is measured for one version holds for the next of the same graph.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

import msgspec

from exportweb.runtime.bench import Bench, Trial
from exportweb.runtime.predictor import Predictor

BUDGET = 2.0
"""Seconds that may be spent on measuring a graph."""

MAX_BATCH, MAX_BATCH_GPU = 16, 64
"""The most images a run that are tried; on a GPU, those for which CUDA graphs are recorded."""

DEFAULT_BATCH, DEFAULT_BATCH_GPU = 4, 64
"""The most images a run where nothing was measured."""

_RUNS_ON_GPU = 2  # one computes while the other's images are copied
_HANDOVER = 1e-3  # seconds of a core that a run costs a server beside what it computes: cold caches, threads woken, the GIL handed over
_PASSES = 3  # times that settings with shorter runs are gone through in turn: a shared machine is elsewhere for tenths of a second
_WORTH = 0.06  # what more images have to gain: less is noise, and who comes early to a batch waits for the others
_NEARLY = 0.02  # what less than the best is as good, for a crowd, which waits anyway
_DEPTH = 2  # batches of images that wait for each run where larger ones gain little
_PATIENCE = 0.35  # seconds that a batch may take which gains little, or whose gain there was no time to measure
_LOSS = 0.1  # what more images have to lose to end the search
_TOGETHER = 0.15  # what runs of several threads have to gain: each waits for its slowest thread, and in a server one has company
_SLOW = 0.02  # seconds that a run takes which should gain by more threads, so that it is looked at again where it seems not to
_ALONE = 0.15  # what a session of its own for runs that are alone has to gain: it costs the memory of the weights again


class Tuning(msgspec.Struct, frozen=True):
    """How a model is run: at most `runs` at the same time, of `threads` threads and up to `batch` images each, and with `alone` threads
    when nothing else is going on, of this model or another. A batch is as large only where `depth` times as many images wait for each run:
    where more images gain little, they are for a crowd, which waits anyway. `trials`, which took `seconds`, say why; there are none where
    nothing was measured.
    """

    runs: int
    threads: int
    batch: int
    alone: int
    depth: int = 1
    seconds: float = 0.0
    trials: tuple[Trial, ...] = ()

    def __str__(self) -> str:
        alone = f" ({self.alone} when alone)" if self.alone != self.threads else ""
        crowd = f" (where {self.depth} times as many wait)" if self.depth > 1 else ""
        tried = ", ".join(map(str, self.trials))
        return (
            f"{self.runs} runs at a time, {self.threads} threads{alone} and up to {self.batch} images each{crowd}; "
            f"images/s by runs x threads x images: {tried}; measured in {self.seconds:.1f} s"
        )


class Tuner:
    """Measures models on a machine of `cpus` CPUs, each graph once, in about `budget` seconds (0: never).

    `threads` and `max_batch` are what the user decided; where they are 0, it is measured. `shared` says whether other models use the same
    CPUs: then a run has one thread unless it is alone, since each worker may be running something.
    """

    def __init__(
        self, *, cpus: int, threads: int = 0, max_batch: int = 0, budget: float = BUDGET, shared: Callable[[], bool] = lambda: False
    ) -> None:
        self._cpus = cpus
        self._shared = shared
        self._threads = threads
        self._max_batch = max_batch
        self._budget = budget
        self._known: dict[Hashable, Tuning] = {}

    @property
    def threads(self) -> int:
        """The threads of a run on the CPU of a graph that wasn't measured.

        On two cores, runs of one thread each answered a fifth more images/s than runs that shared both, for small models and big.
        """
        return self._threads or 1

    def known(self, graph: Hashable) -> Tuning | None:
        """Return what was measured for a graph, None if it wasn't, or if that was for a model that had the machine to itself and doesn't
        any more.
        """
        tuning = self._known.get(graph)
        return None if tuning is not None and tuning.threads > self.threads and self._shared() else tuning

    def default(self, predictor: Predictor) -> Tuning:
        """Return how a graph is run that wasn't measured."""
        on_cpu = predictor.device == "cpu"
        runs = max(1, self._cpus // self.threads) if on_cpu else _RUNS_ON_GPU * len(predictor.each())
        return Tuning(
            runs, self.threads, predictor.max_batch or self._max_batch or (DEFAULT_BATCH if on_cpu else DEFAULT_BATCH_GPU), self.threads
        )

    def tune(
        self,
        graph: Hashable,
        predictor: Predictor,
        load: Callable[[int], Predictor],
        *,
        disturbed: Callable[[], bool],
        turn: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Tuning | None:
        """Measure what is open, and remember it; return None if nothing is.

        `predictor` has `threads` of them a run; `load` makes one that has more. `disturbed` says whether something else is asked of the
        machine: then nothing is remembered, whoever asked comes first, and this raises `Disturbed`. Each measurement is made in a block
        that `turn` returns.
        """
        start, on_cpu = self.default(predictor), predictor.device == "cpu"
        counts = self._counts() if on_cpu and not self._threads else []
        limit = (MAX_BATCH if on_cpu else MAX_BATCH_GPU) if not self._max_batch and predictor.max_batch is None else 1
        if self._budget <= 0 or self.known(graph) is not None or (not counts and limit == 1):
            return None
        bench = Bench(self._budget, disturbed, turn)
        options = [_measure(bench, predictor, start.runs, start.threads)]
        for count in counts:
            if bench.affords(1, options[0].single):
                with bench.spending():
                    loaded = load(count)
                options.append(_measure(bench, loaded, self._cpus // count, count))
        for _ in range(1, _PASSES):
            for i, option in enumerate(options):  # of many CPUs there are many, and the rest of the budget is for batches
                if bench.quick(option.runs, option.threads, 1, share=0.5):
                    options[i] = _measure(bench, *option[:3])
        shared = self._shared()
        best, alone = _best(options, shared=shared)
        if alone is best and len(options) > 1 and best.single * _SLOW < 1 and bench.affords(1, best.single):
            options[1] = _again(bench, options[1])
            best, alone = _best(options, shared=shared)
        batch, depth = _batch(bench, best, limit, crowds=on_cpu and not shared) if limit > 1 else (start.batch, 1)
        tuning = Tuning(best.runs, best.threads, batch, alone.threads, depth, round(bench.seconds, 2), bench.trials())
        self._known[graph] = tuning
        return tuning

    def _counts(self) -> list[int]:
        """Return the numbers of threads to try beside 1, the most first: it is what a run that is alone wants."""
        return [self._cpus >> i for i in range(self._cpus.bit_length()) if self._cpus >> i > 1]


class _Option(NamedTuple):
    """A number of threads, with which `most` runs fill the machine: the images/s of the best number of runs, and of one at a time, with an
    image each.
    """

    predictor: Predictor
    most: int
    threads: int
    runs: int
    full: float
    single: float


def _best(options: list[_Option], *, shared: bool) -> tuple[_Option, _Option]:
    """Return what answers most images/s when there is much to do, and what is quickest alone; the same, where it is nearly that.

    The first option, of the fewest threads, is the best where CPUs are `shared`: more, times as many runs as models, would be too many.
    """
    best = options[0]
    for option in [] if shared else options[1:]:
        if option.full > best.full * (1 + _TOGETHER):
            best = option
    alone = max(options, key=lambda option: option.single)
    return best, alone if alone.single > best.single * (1 + _ALONE) else best


def _served(rate: float, runs: int, batch: int) -> float:
    """Return the images/s that a server answers in runs like those that computed `rate`."""
    return runs * batch / (runs * batch / rate + _HANDOVER)


def _for_crowds(served: Mapping[int, float], most: float) -> int:
    """Return the largest batch, up to `most` and what is usual, that lost nothing where it was measured. Larger ones gain little more, and
    take memory.
    """
    sizes = (1, 2, DEFAULT_BATCH) if len(served) == 1 else served
    good = (size for size in sizes if served.get(size, math.inf) * (1 + _NEARLY) >= max(served.values()))
    return max((size for size in good if size <= min(most, DEFAULT_BATCH)), default=1)


def _measure(bench: Bench, predictor: Predictor, most: int, threads: int) -> _Option:
    """Measure a number of threads, with so many runs at the same time, and with one."""
    single = bench.rate(predictor, 1, threads, 1)
    full = single if most == 1 else bench.rate(predictor, most, threads, 1)
    return _Option(predictor, most, threads, most if full > single else 1, max(full, single), single)


def _again(bench: Bench, option: _Option) -> _Option:
    """Look again at one run at a time, and return the better: the kernel may have had its threads share a CPU all the while."""
    single = max(option.single, bench.rate(option.predictor, 1, option.threads, 1))
    return option._replace(single=single, full=max(option.full, single))


def _batch(bench: Bench, option: _Option, limit: int, *, crowds: bool) -> tuple[int, int]:
    """Double the images of a batch until that loses something; return how many it should have, and the depth for that.

    Those are the fewest with which nearly as many are served as can be. Where that is one, `crowds` get larger ones.
    """
    served = {1: _served(option.full, option.runs, 1)}
    for _ in range(_PASSES):
        batch = 1
        while 2 * batch <= limit and bench.affords(2 * batch, option.full / option.runs):
            batch *= 2
            if batch not in served or bench.quick(option.runs, option.threads, batch):
                served[batch] = _served(bench.rate(option.predictor, option.runs, option.threads, batch), option.runs, batch)
            if served[batch] < served[batch // 2] * (1 - _LOSS):
                break
    few = min(size for size, rate in served.items() if rate * (1 + _WORTH) >= max(served.values()))
    many = _for_crowds(served, min(limit, _PATIENCE * option.full / option.runs)) if crowds and few == 1 else few
    return many, _DEPTH if many > few else 1
