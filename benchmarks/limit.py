"""The limit of a server: the plain pipeline (contenders/pipeline.py) in a loop on all cores, with nothing around it.

It is run in as many threads as there are cores and in as many processes, in batches of several sizes; the setting that answers most is the
limit. `best` finds the promising settings, to be measured again beside what is compared.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from multiprocessing.sharedctypes import SynchronizedArray
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

from exportweb import artifact

BATCHES = (1, 4, 16)
CORES = os.cpu_count() or 1


class Setting(NamedTuple):
    """How the pipeline is run: so many images at once, in processes or threads."""

    batch: int
    processes: bool


SETTINGS = [Setting(batch, processes) for batch in BATCHES for processes in (False, True)]


def environment(path: Path) -> dict[str, str]:
    """Return what the plain pipeline is told of a model by the environment."""
    card = artifact.read(path).card
    assert card is not None
    return {"MODEL": str(path), "RESIZE": str(card.input.resize_height), "CROP": str(card.input.height), "PORT": "0"}


def rate(path: Path, image: bytes, setting: Setting, *, seconds: float) -> float:
    """Return the images a second that the pipeline answers."""
    spawn = multiprocessing.get_context("spawn")
    counts, stop = [spawn.Array("d", 2) for _ in range(CORES)], spawn.Event()
    shares = [[count] for count in counts] if setting.processes else [counts]
    workers = [spawn.Process(target=_work, args=(environment(path), image, setting.batch, share, stop)) for share in shares]
    for worker in workers:
        worker.start()
    while any(count[0] < 2 * setting.batch for count in counts):
        time.sleep(0.02)
    before = [count[:] for count in counts]
    time.sleep(seconds)
    after = [count[:] for count in counts]
    stop.set()
    for worker in workers:
        worker.join()
    # From one answer to another: of a slow model in large batches, what is under way at the ends would be a tenth.
    return sum((images - fewer) / (end - start) for (images, end), (fewer, start) in zip(after, before, strict=True) if end > start)


def best(path: Path, image: bytes, *, count: int = 2, seconds: float = 2.0) -> list[Setting]:
    """Return the settings that answer most."""
    return sorted(SETTINGS, key=lambda setting: rate(path, image, setting, seconds=seconds), reverse=True)[:count]


def _work(told: dict[str, str], image: bytes, batch: int, counts: list[SynchronizedArray[float]], stop: Event) -> None:
    os.environ |= told
    from contenders import pipeline

    session = pipeline.session()

    def loop(count: SynchronizedArray[float]) -> None:
        images = 0
        while not stop.is_set():
            json.dumps(pipeline.run(session, [pipeline.prepare(image) for _ in range(batch)]))
            images += batch
            count[:] = images, time.perf_counter()

    threads = [threading.Thread(target=loop, args=(count,)) for count in counts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
