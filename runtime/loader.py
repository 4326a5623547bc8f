"""The loader: a version from its file to a predictor that is run as suits this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager

from exportweb import artifact as artifacts
from exportweb.card import Card
from exportweb.errors import ExportwebError
from exportweb.memory import give_back
from exportweb.runtime import verify
from exportweb.runtime.bench import Disturbed
from exportweb.runtime.jobs import Live, Plan
from exportweb.runtime.predictor import Predictor
from exportweb.runtime.preparation import Decode
from exportweb.runtime.tuner import BUDGET, MAX_BATCH_GPU, Tuner, Tuning

log = logging.getLogger(__name__)

_MEASURING = threading.Lock()  # models that are measured at the same time would measure each other


class Loader:
    """Loads the versions of one model on `device` for a machine of `cpus` CPUs.

    `threads` a run and `max_batch` images a run are what the user decided; where they are 0, a graph is measured for up to `budget` seconds
    (0: never; runs on the CPU then have one thread and up to 4 images, on a GPU 64). `gpu_mem_limit` is in bytes, for each version and
    GPU; `cuda_graphs` allows them where they are measured to gain. `shared` is that of `Tuner`, `trust_torchscript` that of
    `Predictor.load`.
    """

    def __init__(
        self,
        *,
        cpus: int,
        device: str = "auto",
        threads: int = 0,
        max_batch: int = 0,
        gpu_mem_limit: int = 0,
        cuda_graphs: bool = True,
        decoding: Decode = "exact",
        budget: float = BUDGET,
        shared: Callable[[], bool] = lambda: False,
        trust_torchscript: bool = False,
    ) -> None:
        self._device = device
        self._trust = trust_torchscript
        self._gpu_mem_limit = gpu_mem_limit
        self._graphs = verify.batch_sizes(max_batch or MAX_BATCH_GPU) if cuda_graphs else []
        self._decoding: Decode = decoding
        self._tuner = Tuner(cpus=cpus, threads=threads, max_batch=max_batch, budget=budget, shared=shared)

    def load(
        self, path: str | os.PathLike[str], card: Card, *, aside: Callable[[Callable[[], Predictor]], Predictor] | None = None
    ) -> tuple[Predictor, Plan]:
        """Load a version; return it with how it is run. Raises what `Predictor.load` raises.

        `aside` calls what takes long, and returns what that returns. A session whose runs have several threads is loaded by the caller
        itself all the same: those are started meanwhile, and keep for good the priority of whoever starts them. A session for runs that
        are alone is left to `complete`: who waits for a version under load won't need it.
        """
        known = self._tuner.known(_graph(path, card))
        threads = self._tuner.threads if known is None else known.threads
        if aside is not None and threads == 1:
            predictor = aside(lambda: self._load(path, card, threads))
        else:
            predictor = self._load(path, card, threads)
        return predictor, _plan(predictor, known or self._tuner.default(predictor))

    def complete(self, path: str | os.PathLike[str], live: Live) -> None:
        """Give a version that serves the session for runs that are alone, if it is known to gain by one and has none."""
        predictor = live.predictor
        try:
            known = self._tuner.known(_graph(path, predictor.card))
            if known is not None and known.alone != known.threads and predictor.alone is predictor.session:
                live.run_as(predictor.beside(self._load(path, predictor.card, known.alone)), live.plan)
        except (ExportwebError, OSError) as error:  # it serves without
            log.info("%s gets no session for runs that are alone: %s", predictor.card.name, error)

    def tune(
        self,
        path: str | os.PathLike[str],
        live: Live,
        *,
        disturbed: Callable[[], bool],
        turn: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> bool:
        """Measure how a version that serves is run best, if that isn't known yet, and have it run so from now on.

        `disturbed` says whether something else was asked of the machine meanwhile: then everything stays as it is, and this returns
        False; True if nothing is left to be measured. Each measurement is made in a block that `turn` returns.
        """
        predictor = live.predictor
        graph, loaded = _graph(path, predictor.card), {predictor.session.threads: predictor}

        def load(threads: int) -> Predictor:
            loaded[threads] = self._load(path, predictor.card, threads)
            return loaded[threads]

        try:
            with _MEASURING:
                tuning = self._tuner.tune(graph, predictor, load, disturbed=disturbed, turn=turn)
        except Disturbed:
            return False
        except (ExportwebError, OSError) as error:  # it serves, so what it can't do is not asked of it
            log.info("%s can't be measured: %s", predictor.card.name, error)
            return True
        if tuning is not None:
            chosen = loaded[tuning.threads]
            if tuning.alone != tuning.threads:
                chosen = chosen.beside(loaded[tuning.alone])
            live.run_as(chosen, _plan(chosen, tuning))
            log.info("%s: %s", predictor.card.name, tuning)
            loaded.clear()
            del chosen, predictor
            give_back()  # what the others took
        return True

    def _load(self, path: str | os.PathLike[str], card: Card, threads: int) -> Predictor:
        return Predictor.load(
            path,
            device=self._device,
            threads=threads,
            memory_limit=self._gpu_mem_limit,
            graphs=self._graphs,
            decoding=self._decoding,
            card=card,
            trust_torchscript=self._trust,
            verified=True,  # by the builder, before it looked at the card
        )


def _plan(predictor: Predictor, tuning: Tuning) -> Plan:
    on_cpu, measured = predictor.device == "cpu", tuning if tuning.trials else None
    step = 1 if on_cpu else verify.STEP
    return Plan(tuning.batch, tuning.runs, prepare_first=on_cpu, depth=tuning.depth, step=step, tuning=measured)


def _graph(path: str | os.PathLike[str], card: Card) -> Hashable:
    """Return what versions of the same graph have in common: what they take and answer, and their size without the card."""
    start, end = artifacts.read(path).card_span
    return card.task, card.input, card.inputs, card.outputs, os.stat(path).st_size - (end - start)  # noqa: PTH116
