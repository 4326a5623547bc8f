"""A GPU: images a second against bare ONNX Runtime at its best batch size, what a client feels of swaps, memory over a hundred of them.

    python benchmarks/gpu.py [--device cuda] [--seconds 120] [--swaps 100] [MODEL] [rate | half | memory | swap]

Needs an NVIDIA GPU, onnxruntime-gpu and wrk; `--device cpu` tries the script itself on a machine without one, and its figures say nothing
of a GPU. The limit is a loop of runs on arrays that are ready, of the batch size and the number of threads that suit it best. The server
gets a photograph of the model's own size: decoding larger ones is the CPU's work, which a GPU waits for.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import timm
from PIL import Image

from closedloop import wrk
from exportweb import Store
from exportweb.exporters.single import export
from exportweb.runtime import Predictor, cuda, verify
from exportweb.runtime.session import parse_device
from exportweb.runtime.tuner import MAX_BATCH_GPU
from measure import table
from serve import launch, photo
from swap import measure, publish, two_versions

PARTS = ["rate", "half", "memory", "swap"]
SIZES = (8, 16, 32, 64, 128)
CLIENTS = 240  # at most: 256 requests may wait
ROUNDS, SECONDS = 3, 1.0
SETTLED = 20  # swaps after which memory should not grow any more
Run = Callable[[dict[str, Any]], object]


def rate(run: Run, batch: dict[str, Any], threads: int) -> float:
    """Images a second of so many threads that run a batch over and over."""

    def loop(_: int) -> int:
        count = 0
        while time.perf_counter() < end:
            run(batch)
            count += 1
        return count

    run(batch)
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        end = start + SECONDS
        runs = sum(pool.map(loop, range(threads)))
        return runs * len(batch["image"]) / (time.perf_counter() - start)


def bare(path: Path, device: str) -> Run:
    """ONNX Runtime by hand, as its documentation has it."""
    kind, index = parse_device(device)
    chosen: list[Any] = [(cuda.PROVIDER, {"device_id": str(index), "cudnn_conv_algo_search": "HEURISTIC"})] if kind == "cuda" else []
    session = onnxruntime.InferenceSession(path, providers=[*chosen, "CPUExecutionProvider"])
    if chosen and cuda.PROVIDER not in session.get_providers():
        sys.exit("ONNX Runtime fell back to the CPU.")
    return lambda batch: session.run(None, batch)


def throughput(path: Path, device: str, folder: Path, name: str) -> list[str]:
    """Our session and our server against the limit, in rounds; and a single client against a call without a server.

    The limit's batches are all of one size, which a server's aren't.
    """
    limit = bare(path, device)
    predictor = Predictor.load(path, device=device, threads=0 if device == "cpu" else 1, graphs=verify.batch_sizes(MAX_BATCH_GPU))
    (port,) = predictor.session.inputs
    sides = [side or 224 for side in port.shape[1:]]
    batches = {size: {"image": np.random.default_rng(0).integers(0, 255, (size, *sides), np.uint8)} for size in SIZES}
    tried = {(size, threads): rate(limit, batch, threads) for size, batch in batches.items() for threads in (1, 2)}
    size, threads = max(tried, key=lambda key: tried[key])
    body = folder / "photo.jpg"
    Image.open(io.BytesIO(photo())).resize((sides[1], sides[0])).save(body, quality=90)
    image = body.read_bytes()
    server = launch(path, device=device)
    url = f"{server.url}/predict"
    clients = min(4 * size, CLIENTS)
    wrk(url, body, clients, seconds=3)  # by then fronts have been missed, and are there
    shares: dict[str, list[float]] = {"session": [], "server": [], "single": []}
    for _ in range(ROUNDS):
        most = rate(limit, batches[size], threads)
        shares["session"].append(rate(predictor.session.run, batches[min(size, MAX_BATCH_GPU)], 2) / most)
        shares["server"].append(wrk(url, body, clients, seconds=2)[0] / most)
        shares["single"].append(wrk(url, body, 1, seconds=2)[1] / call(predictor, image))
    runtime = json.loads(read(f"{server.url}/model"))["runtime"]
    server.close()
    medians = {key: statistics.median(values) for key, values in shares.items()}
    cells = [f"{tried[size, threads]:.0f}", f"{size} x {threads}", f"**{medians['session']:.2f}**"]
    threads_and_fronts = f"{runtime['workers']} and {runtime['fronts']}"
    recorded = "yes" if getattr(predictor.session, "recorded", False) else "no"
    return [name, *cells, recorded, threads_and_fronts, f"**{medians['server']:.2f}**", f"**{medians['single']:.2f}x**"]


def call(predictor: Predictor, image: bytes) -> float:
    """Milliseconds that an answer takes without a server, in the median."""
    times = []
    for _ in range(100):
        start = time.perf_counter()
        predictor.predict(image)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def memory(name: str, device: str, folder: Path, versions: list[Path], swaps: int) -> list[str]:
    """What the server and the GPU hold after the first swaps and after the last."""
    store = Store(folder / "store")
    publish(store, versions[0])
    server = launch(store.folder, device=device)
    held = []
    for count in range(1, swaps + 1):
        number = publish(store, versions[count % 2])
        store.prune(3)
        while json.loads(read(f"{server.url}/model"))["version"] != number:
            time.sleep(0.05)
        if count in (min(SETTLED, swaps), swaps):
            time.sleep(2)  # the version before is let go of
            held.append((resident(server.url), used(device)))
    server.close()
    settled, last = held[0], held[-1]
    ratios = [f"**{b / a:.2f}x**" if a else "-" for a, b in zip(settled, last, strict=True)]
    return [name, str(swaps), f"{settled[0] / 1e6:.0f}", f"{last[0] / 1e6:.0f}", ratios[0], f"{last[1] / 1e6:.0f}", ratios[1]]


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read(), "utf-8")


def resident(url: str) -> float:
    """Bytes that the server's process holds."""
    found = re.search(r"^process_resident_memory_bytes (\S+)", read(f"{url}/metrics"), re.MULTILINE)
    return float(found[1]) if found else 0.0


def used(device: str) -> float:
    """Bytes of a GPU's memory that are in use."""
    kind, index = parse_device(device)
    if kind != "cuda":
        return 0.0
    words = ["nvidia-smi", f"--id={index}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout) * (1 << 20)


def halved(model: str, folder: Path) -> Path:
    """Return a version in fp16."""
    return export(timm.create_model(model), folder / "half.onnx", precision="fp16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="MODEL or part", default=["resnet50"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--swaps", type=int, default=100)
    options = parser.parse_args()
    if options.device != "cpu" and not cuda.count():
        sys.exit("This benchmark needs an NVIDIA GPU, and the driver finds none here; --device cpu only tries the script.")
    show = table if options.device != "cpu" else lambda _, *columns: print(*columns, sep="\n")
    parts = [word for word in options.words if word in PARTS] or PARTS
    (model,) = [word for word in options.words if word not in PARTS] or ["resnet50"]
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        versions = two_versions(model, folder)
        rows = []
        for part, suffix, path in (("rate", "", lambda: versions[0]), ("half", ", fp16", lambda: halved(model, folder))):
            if part in parts:
                header = ["model", "limit, images/s", "batch x threads", "session / limit", "CUDA graphs", "threads and fronts"]
                header += ["server / limit", "p50 of one client / a call"]
                rows.append(throughput(path(), options.device, folder, model + suffix))
                show("Serving on a GPU", header, rows)
        if "memory" in parts:
            header = ["model", "swaps", f"resident after {SETTLED}, MB", "after the last", "ratio", "GPU after the last, MB", "ratio"]
            show("Memory through swaps on a GPU", header, [memory(model, options.device, folder, versions, options.swaps)])
        if "swap" in parts:
            header = ["model", "most, images/s", "asked", "failed", "swaps", "p50 far / near, ms", "p99", "p99.9", "p99 near / far"]
            row = measure(model, seconds=options.seconds, every=5, share=0.7, device=options.device, versions=versions)
            show("Through swaps on a GPU", header, [row])


if __name__ == "__main__":
    main()
