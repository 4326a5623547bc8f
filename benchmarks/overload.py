"""What a server does with ten times the requests that it can answer, for a minute.

    python benchmarks/overload.py [--seconds 60] [--times 10] [MODEL ...]

The server has half of the machine's cores and the clients the other half, so that what is measured is what refusing costs the server, not
what asking costs the clients. The most that it answers is measured by a closed loop (wrk) before and after, since the machine's own speed
drifts; the load is an open one: requests at random moments, whatever became of those before. Latency is back to normal when ten requests in
a row, one after the other, take no longer than one and a half times what they take on the idle server.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import timm
import torch

from closedloop import WARM, wrk
from exportweb.exporters.single import export
from measure import table
from openloop import Row
from serve import SECONDS, launch, photo
from swap import percentile

MODELS = ["mobilenetv3_small_050", "resnet50"]
CLIENTS = 16  # enough to keep it busy, and none is refused by a slow model on half of a small machine
ROUNDS = 6  # before the crowd, and after it
PROBES = 60
IN_A_ROW = 10
PAUSE = 0.02  # seconds before each: a core that was idle is slower at first, so that all probes have to come after the same rest


class Memory:
    """The resident memory of a process and all that it had started, in MB: now, and at most since then."""

    def __init__(self, process: psutil.Process) -> None:
        self._processes = [process, *process.children(recursive=True)]
        self._stop = threading.Event()
        self.most = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def now(self) -> float:
        """Return it in MB."""
        return sum(process.memory_info().rss for process in self._processes) / 1e6

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.most = max(self.most, self.now())


def probe(url: str, image: bytes) -> float:
    """Return the seconds that one request takes after a pause, infinite if it is refused."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    try:
        urllib.request.urlopen(f"{url}/predict", image, timeout=60).close()
    except urllib.error.HTTPError:
        return float("inf")
    return time.perf_counter() - start


def back_to_normal(url: str, image: bytes, normal: float) -> float:
    """Return when the first of `IN_A_ROW` quick answers was asked for, in seconds since the epoch; infinite if that took a minute."""
    begin = since = time.time()
    quick = 0
    while quick < IN_A_ROW:
        asked = time.time()
        if asked - begin > 60:
            return float("inf")
        if probe(url, image) > normal:
            quick = 0
        else:
            since = since if quick else asked
            quick += 1
    return since


def most_of(url: str, image: Path) -> float:
    """Return the images a second that a server answers at most."""
    wrk(f"{url}/predict", image, CLIENTS, seconds=SECONDS)
    return statistics.median(wrk(f"{url}/predict", image, CLIENTS, seconds=SECONDS)[0] for _ in range(ROUNDS))


def measure(name: str, *, seconds: float, times: float) -> list[str]:
    """Return a model's row."""
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path, image = Path(folder) / "model.onnx", Path(folder) / "photo.jpg"
        export(timm.create_model(name), path)
        image.write_bytes(data := photo())
        os.sched_setaffinity(0, cores[:half])
        server = launch(path)
        os.sched_setaffinity(0, cores[half:] or cores)
        memory = Memory(*psutil.Process().children())
        before_it = most_of(server.url, image)
        normal = 1.5 * statistics.median(probe(server.url, data) for _ in range(PROBES))
        before = memory.now()
        words = [sys.executable, str(Path(__file__).with_name("openloop.py")), server.url, str(image), str(times * before_it), str(seconds)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
            time.sleep(seconds)
            normal_again = back_to_normal(server.url, data, normal)
            after = memory.now()
            assert client.stdout is not None
            rows: list[Row] = [tuple(json.loads(line)) for line in client.stdout]
        memory.close()
        most = (before_it + most_of(server.url, image)) / 2
        server.close()
        os.sched_setaffinity(0, cores)
    megabytes = f"{before:.0f} / {memory.most:.0f} / {after:.0f}"
    return [name, f"{most:.0f}", *judge(rows, most), megabytes, f"**{normal_again - max(due for due, *_ in rows):.1f}**"]


def judge(rows: list[Row], most: float) -> list[str]:
    """Return what was asked and what was answered, a second and as a share of the most, what was refused, and what was neither."""
    begin, end = min(due for due, *_ in rows), max(due for due, *_ in rows)
    answered = [took for due, took, status, *_ in rows if status == 200 and begin + WARM <= due + took <= end]
    refused = [took for _, took, status, *_ in rows if status == 503]
    offered, rate = len(rows) / (end - begin), len(answered) / (end - begin - WARM)
    failed = sum(status not in (200, 503) for _, _, status, *_ in rows)
    took = [f"{1e3 * percentile(times, 0.5):.0f} / {1e3 * percentile(times, 0.99):.0f}" for times in (answered, refused)]
    return [f"{offered:.0f} ({offered / most:.1f}x)", f"{rate:.0f}", f"**{rate / most:.2f}**", f"{len(refused)}", f"{failed}", *took]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=10)
    options = parser.parse_args()
    rows = [measure(name, seconds=options.seconds, times=options.times) for name in options.models]
    header = ["model", "most, images/s", "asked, /s", "answered, /s", "answered / most", "refused", "failed"]
    header += ["answered: p50 / p99, ms", "refused: p50 / p99, ms", "memory before / most / after, MB", "normal again after, s"]
    table("Overload", header, rows)


if __name__ == "__main__":
    main()
