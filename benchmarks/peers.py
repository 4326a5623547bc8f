"""Our server beside others on the same models, photos and load, and beside the same work in a loop with no server around it.

    python benchmarks/peers.py measure [--models resnet50 ...] [--contenders mosec ...] [--rounds 3]
    python benchmarks/peers.py update [--contenders ...]
    python benchmarks/peers.py table

`measure` and `update` add what they find to --results, so that a run may be made in parts; `table` prints the medians of what is there.
Needs wrk; the peers' environments are made at the first run. Before it is timed, each has to give the answers of the plain pipeline.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from closedloop import wrk
from contenders import CONTENDERS, Contender, Environment, Running
from exportweb.exporters.single import export
from exportweb.runtime import Predictor
from limit import best, rate
from measure import table

MODELS = ["mobilenetv3_small_050", "resnet50"]
SECONDS = {1: 3, 8: 4, 32: 4}  # by concurrency
REST = 6.0  # seconds after the first answers, in which ours measures itself, and others may do what they do at rest
CALM = 3.0  # seconds of load before a model is replaced, and after the new one has answered


@cache
def photos() -> list[bytes]:
    """Four photographs of 500 x 375 pixels as JPEG."""
    found = []
    for array in load_sample_images().images:
        image = Image.fromarray(array).resize((500, 375), Image.Resampling.BICUBIC)
        for one in (image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
            file = io.BytesIO()
            one.save(file, "JPEG", quality=90)
            found.append(file.getvalue())
    return found


def artifact(name: str, path: Path, *, seed: int) -> Path:
    """Export a model with random weights, with statistics of real photographs, so that its answers depend on what it is shown."""
    torch.manual_seed(seed)
    model = timm.create_model(name)
    images = torch.from_numpy(np.stack([np.asarray(Image.open(io.BytesIO(data)).resize((224, 224))) for data in photos()]))
    pixels = (images.permute(0, 3, 1, 2) / 255 - 0.45) / 0.225
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all that it sees
    with torch.no_grad():
        model.train()(torch.cat([pixels, pixels.flip(2), torch.randn(8, 3, 224, 224)]))
        logits = model.eval()(pixels)
        model.get_classifier().weight.mul_(4 / (logits - logits.mean(0)).std())
        model.get_classifier().bias.zero_()
    return export(model, path)


def classes(answer: bytes) -> list[str]:
    return re.findall(r'"label":\s*"class_(\d+)"', answer.decode("utf-8", "replace"))


def expected(path: Path) -> list[list[str]]:
    """Return the classes that the plain pipeline answers for each photo."""
    predictor = Predictor.load(path, device="cpu")
    return [classes(json.dumps(predictor.predict(data)).encode()) for data in photos()]


def check(running: Running, right: list[list[str]]) -> None:
    """End if answers, asked for by eight at once, are not right."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: classes(running.ask(photos()[i % 4])[1]), range(24)))
    wrong = [(i, answer) for i, answer in enumerate(answers) if answer != right[i % 4]]
    if wrong:
        sys.exit(f"{running.contender.name} answered {wrong[0][1]} where {right[wrong[0][0] % 4]} is right ({len(wrong)} of 24 are wrong)")


def ask(running: Running, concurrency: int, seconds: float, folder: Path) -> tuple[float, float]:
    """Images a second and the median latency in ms; ends if anything but 200 is answered."""
    kind, data = running.contender.body(photos()[0])
    body = folder / "body"
    body.write_bytes(data)
    return wrk(f"http://127.0.0.1:{running.port}{running.contender.path}", body, concurrency, seconds=seconds, kind=kind)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Bench:
    """Where models, environments and results lie."""

    def __init__(self, folder: Path, results: Path) -> None:
        self.folder = folder
        self._results = results
        (folder / "models").mkdir(parents=True, exist_ok=True)
        self.found: dict[str, Any] = {"rounds": [], "updates": [], "megabytes": {}}
        if results.exists():
            self.found = json.loads(results.read_text())

    def save(self) -> None:
        """Write what was found so far."""
        self._results.parent.mkdir(parents=True, exist_ok=True)
        self._results.write_text(json.dumps(self.found, indent=1))

    def model(self, name: str, *, seed: int = 0) -> Path:
        """Make or find a model's file."""
        path = self.folder / "models" / f"{name}-{seed}.onnx"
        return path if path.exists() else artifact(name, path, seed=seed)

    def environments(self, contenders: list[Contender]) -> dict[str, Environment]:
        """Make or find each contender's environment, and note its size."""
        made = {contender.name: Environment(contender, self.folder / "envs") for contender in contenders}
        self.found["megabytes"].update({name: environment.megabytes for name, environment in made.items()})
        return made

    def running(self, contender: Contender, environment: Environment, model: Path, folder: Path) -> Running:
        """Return a contender with a copy of the model, ready to start."""
        own = folder / "model.onnx"
        shutil.copy(model, own)
        return Running(contender, environment, own, free_port(), folder / "log")

    def measure(self, models: list[str], contenders: list[Contender], rounds: int) -> None:
        """Time the limit and then each contender, in another order each round."""
        environments = self.environments(contenders)
        for name in models:
            model = self.model(name)
            right, settings = expected(model), best(model, photos()[0])
            for _ in range(rounds):
                limit = max(rate(model, photos()[0], setting, seconds=SECONDS[8]) for setting in settings)
                for contender in random.sample(contenders, len(contenders)):
                    row = {"contender": contender.name, "model": name, "limit": limit}
                    with tempfile.TemporaryDirectory() as folder:
                        row |= self._time(self.running(contender, environments[contender.name], model, Path(folder)), right, Path(folder))
                    print(json.dumps(row), flush=True)
                    self.found["rounds"].append(row)
                    self.save()

    def _time(self, running: Running, right: list[list[str]], folder: Path) -> dict[str, float]:
        running.start(photos()[0])
        with running:
            check(running, right)
            time.sleep(REST)
            ask(running, 8, 2, folder)
            row = {"cold": running.cold}
            for concurrency, seconds in SECONDS.items():
                row[f"rate{concurrency}"], row[f"p50_{concurrency}"] = ask(running, concurrency, seconds, folder)
            return {**row, "megabytes": running.megabytes()}

    def update(self, contenders: list[Contender]) -> None:
        """Replace resnet50 by other weights under the load of eight clients."""
        environments = self.environments(contenders)
        old, new = (self.model("resnet50", seed=seed) for seed in (0, 1))
        answers = expected(old)[0], expected(new)[0]
        for contender in contenders:
            with tempfile.TemporaryDirectory() as folder:
                running = self.running(contender, environments[contender.name], old, Path(folder))
                running.start(photos()[0])
                with running:
                    time.sleep(REST)
                    row = {"contender": contender.name, **judge(*crowd(running, answers, lambda: running.replace(new, photos()[0])))}  # noqa: B023
            print(json.dumps(row), flush=True)
            self.found["updates"].append(row)
            self.save()


Asked = tuple[float, float, str]  # when it was asked, seconds to the answer, "old", "new" or what went wrong


def crowd(running: Running, answers: tuple[list[str], list[str]], replace: Callable[[], None]) -> tuple[list[Asked], float, float]:
    """Have eight clients ask all the time; return what they saw, when the model was replaced, and when only the new one answered."""
    seen: list[Asked] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            start = time.perf_counter()
            status, answer = running.ask(photos()[0])
            kind = {tuple(answers[0]): "old", tuple(answers[1]): "new"}.get(tuple(classes(answer)), f"status {status}")
            seen.append((start, time.perf_counter() - start, kind))
            if kind not in ("old", "new"):
                time.sleep(0.1)  # as a client that has some patience

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(2 * CALM)
    begin = time.perf_counter()
    replace()
    while sum(kind == "new" for _, _, kind in seen[-24:]) < 24:
        if time.perf_counter() - begin > 60:
            break
        time.sleep(0.05)
    end = time.perf_counter()
    time.sleep(CALM)
    stop.set()
    for thread in threads:
        thread.join()
    return seen, begin, end


def judge(seen: list[Asked], begin: float, end: float) -> dict[str, Any]:
    """Count failures, and compare the 99th percentile around the update with the one before."""

    def p99(latencies: Iterator[float]) -> float:
        ordered = sorted(latencies)
        return 1e3 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]

    fine = [(start, took) for start, took, kind in seen if kind in ("old", "new")]
    return {
        "failed": sum(kind not in ("old", "new") for _, _, kind in seen),
        "p99_before": p99(took for start, took in fine if begin - CALM < start < begin - 0.5),
        "p99_during": p99(took for start, took in fine if start + took > begin and start < end + 1),
        "seconds": end - begin,
    }


def print_table(found: dict[str, Any]) -> None:
    """Print what was found, best first, and keep it in README.md."""

    def middle(name: str, model: str, value: Callable[[dict[str, float]], float]) -> float:
        values = [value(row) for row in found["rounds"] if (row["contender"], row["model"]) == (name, model)]
        return statistics.median(values) if values else float("nan")

    rows = []
    for name in dict.fromkeys(row["contender"] for row in found["rounds"]):
        cells = [name]
        for model in MODELS:
            cells += [f"{middle(name, model, lambda r, c=c: r[f'rate{c}'] / r['limit']):.2f}" for c in (8, 32)]  # type: ignore[misc]
        cells += [f"{middle(name, model, lambda r: r['p50_1']):.1f}" for model in MODELS]
        updates = [row for row in found["updates"] if row["contender"] == name]
        if updates:
            failed, before, during = (statistics.median(row[key] for row in updates) for key in ("failed", "p99_before", "p99_during"))
            cells += [f"{failed:.0f}", f"{before:.0f} / {during:.0f}"]
        else:
            cells += ["", ""]
        cells += [f"{middle(name, MODELS[0], lambda r: r['cold']):.1f}"]
        cells += [f"{found['megabytes'][name]:.0f}", f"{middle(name, MODELS[1], lambda r: r['megabytes']):.0f}"]
        rows.append(cells)
    rows.sort(key=lambda cells: -float(cells[2]))
    header = ["server"]
    header += [f"{'small' if model == MODELS[0] else 'resnet50'}, c={c}" for model in MODELS for c in (8, 32)]
    header += ["p50 at c=1, ms: small", "resnet50", "failed in an update", "p99 before / during, ms"]
    header += ["cold start, s", "installed, MB", "memory, MB"]
    table("Peers", header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["measure", "update", "table"])
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--contenders", nargs="*", help="names, or how they begin; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "exportweb-peers", help="for models and environments")
    parser.add_argument("--results", type=Path, default=Path("build/peers.json"))
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    chosen = [c for c in CONTENDERS if not options.contenders or any(c.name.startswith(name) for name in options.contenders)]
    bench = Bench(options.folder, options.results)
    if options.part == "measure":
        bench.measure(options.models, chosen, options.rounds)
    elif options.part == "update":
        bench.update(chosen)
    else:
        print_table(bench.found)


if __name__ == "__main__":
    main()
