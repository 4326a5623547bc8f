"""What a client feels of a swap: requests at random moments while a new version comes every five seconds.

    python benchmarks/swap.py [--seconds 120] [--every 5] [--share 0.7] [MODEL ...]

The load is a share of what the server answers at most. A request counts as near a swap if it was due within a second before or after the
moment that its version answered first.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import timm
import torch

from closedloop import wrk
from exportweb import Store
from exportweb.exporters.single import export
from measure import table
from openloop import Row
from serve import SECONDS, launch, photo

MODELS = ["resnet50", "mobilenetv3_small_050"]
CLIENT = 600  # requests a second that one process of the client asks at most
CONNECTIONS = 1_000_000  # more than one of them opens


def two_versions(name: str, folder: Path) -> list[Path]:
    """Two artifacts of one graph with different weights, made beforehand: a trainer would take the server's cores meanwhile."""
    torch.manual_seed(0)
    model = timm.create_model(name)
    first = export(model, folder / "a.onnx")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    return [first, export(model, folder / "b.onnx")]


def publish(store: Store, path: Path) -> int:
    """Put a finished artifact into a store."""
    with path.open("rb") as source:
        return store.publish(lambda file, _: shutil.copyfileobj(source, file, 1 << 20))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(name: str, *, seconds: float, every: float, share: float, device: str = "cpu", versions: list[Path] | None = None) -> list[str]:
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        versions = versions or two_versions(name, folder)
        store, image = Store(folder / "store"), folder / "photo.jpg"
        image.write_bytes(photo())
        publish(store, versions[0])
        server = launch(store.folder, device=device)
        url = f"{server.url}/predict"
        wrk(url, image, 8, seconds=SECONDS)
        most = statistics.median(wrk(url, image, 32, seconds=SECONDS)[0] for _ in range(3))
        crowds = max(1, round(share * most / CLIENT))
        asked = [server.url, str(image), str(share * most / crowds), str(seconds)]
        clients = [client(asked, seed, folder / f"{seed}.jsonl") for seed in range(crowds)]
        start, count = time.time(), 1
        while clients[0].poll() is None and time.time() - start < seconds - every / 2:
            time.sleep(max(0.0, start + (count - 0.5) * every - time.time()))
            publish(store, versions[count % 2])
            store.prune(3)
            count += 1
        rows: list[Row] = []
        for seed, process in enumerate(clients):
            process.wait()
            for line in (folder / f"{seed}.jsonl").read_text().splitlines():
                due, took, status, version, connection = json.loads(line)
                rows.append((due, took, status, version, CONNECTIONS * seed + connection))
        server.close()
    return [name, f"{most:.0f}", *judge(rows)]


def client(asked: list[str], seed: int, file: Path) -> subprocess.Popen[bytes]:
    """Start a process that asks, and writes down what came of it."""
    with file.open("wb") as out:
        return subprocess.Popen([sys.executable, str(Path(__file__).with_name("openloop.py")), *asked, str(seed)], stdout=out)


def judge(rows: list[Row]) -> list[str]:
    """Return failures, swaps, and the percentiles near and far from them; end if an answer went back in versions."""
    first: dict[int, float] = {}
    newest: dict[int, int] = {}
    for due, took, status, version, connection in sorted(rows, key=lambda row: row[0] + row[1]):
        if status == 200:
            first.setdefault(version, due + took)
            if version < newest.get(connection, 0):
                sys.exit(f"connection {connection} was answered by version {version} after {newest[connection]}")
            newest[connection] = version
    swaps = sorted(first.values())[1:]
    near = [took for due, took, *_ in rows if any(abs(due - swap) < 1 for swap in swaps)]
    far = [took for due, took, *_ in rows if all(abs(due - swap) >= 1 for swap in swaps)]
    failed = sum(status != 200 for _, _, status, _, _ in rows)
    latencies = [f"{1e3 * percentile(far, share):.0f} / {1e3 * percentile(near, share):.0f}" for share in (0.5, 0.99, 0.999)]
    return [f"{len(rows)}", f"**{failed}**", f"{len(swaps)}", *latencies, f"**{percentile(near, 0.99) / percentile(far, 0.99):.2f}x**"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--every", type=float, default=5)
    parser.add_argument("--share", type=float, default=0.7)
    options = parser.parse_args()
    rows = [measure(name, seconds=options.seconds, every=options.every, share=options.share) for name in options.models]
    header = ["model", "most, images/s", "asked", "failed", "swaps", "p50 far / near, ms", "p99", "p99.9", "p99 near / far"]
    table("Through swaps", header, rows)


if __name__ == "__main__":
    main()
