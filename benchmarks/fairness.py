"""What a crowd at one model costs the clients of another: both in one server, 32 connections at the one, one client at the other.

The client asks again as soon as it is answered, first alone, then during the flood, in turns. What is left of the flood's own rate is
compared with the same flood when nobody else asks. Needs wrk.

    python benchmarks/fairness.py
"""

from __future__ import annotations

import http.client
import statistics
import tempfile
import threading
import time
from pathlib import Path

import timm
import torch

from closedloop import wrk
from exportweb.exporters.single import export
from measure import table
from serve import SECONDS, launch, photo
from swap import percentile

PAIRS = [
    ("resnet50", "mobilenetv3_small_050"),
    ("mobilenetv3_small_050", "mobilenetv3_small_050"),
    ("mobilenetv3_small_050", "resnet50"),
]
CONNECTIONS, ROUNDS = 32, 4


def ask(address: str, path: str, body: bytes, stop: threading.Event) -> list[float]:
    """Ask one thing after another until told to stop; return the milliseconds of each."""
    connection = http.client.HTTPConnection(address)
    times = []
    while not stop.is_set():
        start = time.perf_counter()
        connection.request("POST", path, body)
        answer = connection.getresponse()
        answer.read()
        times.append(1e3 * (time.perf_counter() - start))
        if answer.status != 200:
            raise SystemExit(f"{path} was answered with {answer.status}")
    connection.close()
    return times


def alone(address: str, path: str, body: bytes) -> list[float]:
    """Ask for as long as wrk runs, without it."""
    stop = threading.Event()
    timer = threading.Timer(SECONDS, stop.set)
    timer.start()
    return ask(address, path, body, stop)


def measure(flooded: str, other: str) -> list[str]:
    """Return a row of the table."""
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        torch.manual_seed(0)
        for name, model in (("a", flooded), ("b", other)):
            export(timm.create_model(model), folder / f"{name}.onnx")
        image = folder / "photo.jpg"
        image.write_bytes(photo())
        server = launch(folder / "a.onnx", folder / "b.onnx")
        crowd, path, body = f"{server.url}/models/a/predict", "/models/b/predict", image.read_bytes()
        address = server.url.removeprefix("http://")
        wrk(crowd, image, CONNECTIONS, seconds=SECONDS)
        before: list[float] = []
        during: list[float] = []
        shares = []
        for _ in range(ROUNDS):
            before += alone(address, path, body)
            rate, _ = wrk(crowd, image, CONNECTIONS, seconds=SECONDS)
            stop, found = threading.Event(), []
            client = threading.Thread(target=lambda found=found, stop=stop: found.extend(ask(address, path, body, stop)))
            client.start()
            left, _ = wrk(crowd, image, CONNECTIONS, seconds=SECONDS)
            stop.set()
            client.join()
            during += found
            shares.append(left / rate)
        server.close()
    cells = [f"{percentile(times, share):.1f}" for times in (before, during) for share in (0.5, 0.99)]
    ratios = [f"**{percentile(during, share) / percentile(before, share):.1f}x**" for share in (0.5, 0.99)]
    served = len(during) / len(before)
    return [flooded, other, *cells, *ratios, f"{served:.2f}", f"{statistics.median(shares):.2f}", f"{CONNECTIONS * 1e3 / rate:.0f}"]


def main() -> None:
    rows = [measure(*pair) for pair in PAIRS]
    header = ["32 connections ask", "one client asks", "p50 alone, ms", "p99", "p50 in the flood, ms", "p99", "p50 ratio", "p99 ratio"]
    table("Fairness", [*header, "client's rate kept", "flood's rate kept", "the flood's own latency, ms"], rows)


if __name__ == "__main__":
    main()
