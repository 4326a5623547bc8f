"""Images a second that the server answers, against the limit: the same work in a loop with no server around it, in the best way
(see limit.py). Needs wrk.

    python benchmarks/serve.py [MODEL ...]
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from closedloop import wrk
from exportweb.exporters.server import Server
from exportweb.exporters.single import export
from exportweb.runtime import Predictor
from limit import Setting, best, rate
from measure import table

MODELS = ["resnet50", "mobilenetv3_small_050"]
CONCURRENCY = (1, 8, 32)
ROUNDS, SECONDS = 9, 3.0
ANSWERS = 160  # at least, in a measurement: of fewer, those that are under way when its time is over, or whose clients left, would show


def photo() -> bytes:
    """A photograph of 500 x 375 pixels as JPEG."""
    file = io.BytesIO()
    Image.fromarray(load_sample_image("china.jpg")).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def launch(*paths: Path, device: str = "cpu", tune: float = 2) -> Server:
    """Start a server of artifacts or stores, and wait until it answers and has measured how it runs them (or for 10 s)."""
    server = Server(*paths, host="127.0.0.1", port=0, device=device, nice=0, tune=tune)
    while True:
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"{server.url}/readyz", timeout=10).close()
            break
        time.sleep(0.1)
    end = time.time() + 10 * bool(tune)
    for model in json.load(urllib.request.urlopen(f"{server.url}/models"))["models"]:
        while time.time() < end:
            if json.load(urllib.request.urlopen(f"{server.url}/models/{model['name']}/model"))["runtime"]["tuning"]:
                break
            time.sleep(0.5)  # a request would disturb what is being measured, but this one needs no worker
    return server


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    rows = []
    for name in sys.argv[1:] or MODELS:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            path, body = Path(folder) / "model.onnx", Path(folder) / "photo.jpg"
            export(timm.create_model(name), path)
            body.write_bytes(photo())
            server = launch(path)
            url = f"{server.url}/predict"
            seconds = max(SECONDS, ANSWERS / wrk(url, body, 8, seconds=SECONDS)[0])
            loops: dict[Setting, list[float]] = {setting: [] for setting in best(path, body.read_bytes())}
            single: list[float] = []
            served: dict[int, list[tuple[float, float]]] = {c: [] for c in CONCURRENCY}
            predictor = Predictor.load(path, device="cpu")
            for _ in range(ROUNDS):
                for setting, rates in loops.items():
                    rates.append(rate(path, body.read_bytes(), setting, seconds=seconds))
                times = []
                for _ in range(30):
                    start = time.perf_counter()
                    predictor.predict(body.read_bytes())
                    times.append((time.perf_counter() - start) * 1e3)
                single.append(statistics.median(times))
                for c in CONCURRENCY:
                    served[c].append(wrk(url, body, c, seconds=seconds))
            server.close()
        limits = max(loops.values(), key=statistics.median)
        shares = {c: statistics.median(r / limit for (r, _), limit in zip(served[c], limits, strict=True)) for c in CONCURRENCY}
        p50 = statistics.median(ms / base for (_, ms), base in zip(served[1], single, strict=True))
        cells = [f"{statistics.median(limits):.0f}", *(f"**{shares[c]:.2f}**" for c in CONCURRENCY), f"{p50:.2f}"]
        rows.append([name, *cells])
    header = ["model", "limit, images/s", *(f"share at c={c}" for c in CONCURRENCY), "p50 at c=1 / bare call"]
    table("Serving", header, rows)


if __name__ == "__main__":
    main()
