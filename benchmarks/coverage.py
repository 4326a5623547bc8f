"""What exports: one model of each of timm's architectures, each in a process of its own, into docs/coverage.md.

A row holds when the ONNX file answers batches of 1, 2 and 5 as the model itself does, before and after all its weights have changed, with
every weight that matters in the file under its own name.

    python benchmarks/coverage.py [--timeout SECONDS] [MODEL ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TABLE = HERE.parent / "docs" / "coverage.md"
HEADER = """# What exports

The model with the fewest parameters of each of timm's architectures, with random weights. `python benchmarks/coverage.py` makes this table.

- *format*: what the model became. *refresh*: a new version is new weights in the known graph; each weight that matters is in it by name.
- *difference*: `max|ONNX - PyTorch| / max(1, max|PyTorch|)`, the worst of batches of 1, 2 and 5 images, after every weight was changed.
- *attach, version*: seconds on two busy cores to export and prove the graph, and to write and check a version.

| architecture | model | MB | format | refresh | difference | attach, s | version, s |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def one(name: str) -> dict[str, Any]:
    """Export a model, change its weights, publish a version, and compare that with the model."""
    import numpy as np
    import timm
    import torch

    from exportweb.exporters import golden
    from exportweb.exporters.exporter import Exporter
    from exportweb.exporters.graph import ImageModel
    from exportweb.exporters.weights import Snapshot
    from exportweb.runtime.session import OnnxSession

    torch.manual_seed(0)
    model = timm.create_model(name)
    start = time.perf_counter()
    exporter = Exporter(model)
    attach = time.perf_counter() - start
    with torch.no_grad():
        for tensor in exporter.weights.tensors:
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * torch.rand_like(tensor)).add_(0.01 * torch.rand_like(tensor))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "version.onnx"
        start = time.perf_counter()
        graph = exporter.current_graph()
        snapshot = Snapshot(exporter.weights)
        snapshot.take(exporter.weights)
        with path.open("wb") as file:
            graph.write(file, snapshot, exporter.card(graph))
        version = time.perf_counter() - start
        size, session = path.stat().st_size / 1e6, OnnxSession(path, device="cpu")
        # The model itself answers, not the copy that was exported.
        image = exporter.description.input
        itself = ImageModel(model.train().eval(), mean=image.mean, std=image.std)
        worst = 0.0
        for batch in (1, 2, 5):
            images = golden.mosaic(image, batch=batch)
            with torch.no_grad():
                expected = itself(torch.from_numpy(images)).numpy()
            worst = max(worst, golden.difference(session.run({"image": images})["logits"], np.asarray(expected)))
    return {"mb": size, "whole": graph.whole, "worst": worst, "attach": attach, "version": version}


def row(architecture: str, name: str, timeout: float) -> tuple[bool, str]:
    """Run `one` in a process of its own; return whether it holds, and its row."""
    command = [sys.executable, __file__, "--one", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        lines = done.stdout.strip().splitlines()
        found = json.loads(lines[-1]) if done.returncode == 0 and lines else {"error": (done.stderr.strip().splitlines() or ["?"])[-1]}
    except subprocess.TimeoutExpired:
        found = {"error": f"took more than {timeout:.0f} s"}
    if "error" in found:
        return False, f"| {architecture} | {name} | | **none** | {found['error'][:200].replace('|', '/')} | | | |"
    refresh = "by name" if found["whole"] is None else f"**whole**: {found['whole']}"
    cells = [f"{found['mb']:.0f}", "ONNX", refresh, f"{found['worst']:.0e}", f"{found['attach']:.1f}", f"{found['version']:.2f}"]
    return found["whole"] is None and found["worst"] < 1e-3, f"| {architecture} | {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--timeout", type=float, default=600)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one)))
        return
    lines = [line.split() for line in (HERE / "timm_models.txt").read_text().splitlines() if not line.startswith("#")]
    wanted = [(a, m) for a, m in lines if not options.models or m in options.models]
    wanted += [("", m) for m in options.models if m not in {m for _, m in lines}]
    rows, held = [], 0
    for architecture, name in wanted:
        ok, text = row(architecture, name, options.timeout)
        held += ok
        rows.append(text)
        print(text, flush=True)
        if not options.models:  # kept as it grows
            TABLE.write_text(HEADER + "\n".join(rows) + f"\n\n{held} of {len(rows)} export to ONNX and refresh by name.\n", "utf-8")
    print(f"{held} of {len(rows)} export to ONNX and refresh by name")


if __name__ == "__main__":
    main()
