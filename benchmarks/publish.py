"""Publishing a version by putting new weights into a known graph, against exporting the model afresh, and against the disk.

    python benchmarks/publish.py [export | disk] [MODEL[:CLASSES] ...]

All ways end with a synced file. Of both that make a version ONNX Runtime has answered as PyTorch did; the disk's is to write and sync as
many bytes.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch

from exportweb import Store
from exportweb.exporters.exporter import Exporter
from exportweb.exporters.onnx_graph import Graph
from exportweb.exporters.publisher import Publisher
from exportweb.exporters.weights import Snapshot
from measure import interleaved, ratio, table

MODELS = ["resnet18", "mobilenetv3_small_100", "vit_tiny_patch16_224", "mobilenetv3_large_100:21841", "vit_small_patch32_224", "resnet50"]
PARTS = ("export", "disk")
WARM = 6  # rounds, until a virtual machine has had all the memory for files that it goes on to use: to get it takes longer than to fill it
SETTLE = 0.1  # seconds in which the file system frees what was deleted or replaced


def main() -> None:
    words = sys.argv[1:]
    parts = [word for word in words if word in PARTS] or PARTS
    rows: dict[str, list[list[str]]] = {part: [] for part in parts}
    for name in [word for word in words if word not in PARTS] or MODELS:
        torch.manual_seed(0)
        model, _, classes = name.partition(":")
        exporter = Exporter(timm.create_model(model, num_classes=int(classes or 1000)))
        with tempfile.TemporaryDirectory() as folder:
            publisher = Publisher(Store(Path(folder) / "store"), keep=2)
            publisher.prepare(exporter.graph, exporter.weights)

            def refresh(exporter: Exporter = exporter, publisher: Publisher = publisher) -> None:
                publisher.submit(exporter.current_graph(), exporter.weights, exporter.card(exporter.graph, epoch=1))
                publisher.flush()

            def settled(publisher: Publisher = publisher) -> None:
                publisher.flush()
                time.sleep(SETTLE)

            refresh()
            size = publisher.store.path(1).stat().st_size
            contenders = {"export": fresh_export(exporter, Path(folder)), "disk": disk(size, Path(folder))}
            for part in parts:
                runs = {"refresh": refresh, part: contenders[part]}
                seconds = interleaved(runs, rounds=3 if part == "export" else 15, warm=WARM, between=settled)
                other, ours = seconds[part], seconds["refresh"]
                against = f"{ratio(other, ours):.0f}x" if part == "export" else f"{ratio(ours, other):.2f}x"
                cells = [f"{size / 1e6:.0f}", f"{statistics.median(other):.3f}", f"{statistics.median(ours):.3f}", f"**{against}**"]
                rows[part].append([name, *cells])
            publisher.close()
    if "export" in rows:
        table("Publishing a version", ["model", "MB", "fresh export, s", "refresh, s", "export / refresh"], rows["export"])
    if "disk" in rows:
        table("A version against its bytes", ["model", "MB", "write and sync, s", "refresh, s", "refresh / disk"], rows["disk"])


def fresh_export(exporter: Exporter, folder: Path) -> Callable[[], None]:
    """Return what exports the model from the beginning, into a store of its own."""
    store = Store(folder / "fresh")

    def export() -> None:
        graph = Graph(exporter.model, exporter.weights, exporter.description, exporter.beside)
        snapshot = Snapshot(exporter.weights)
        snapshot.take(exporter.weights)
        store.publish(lambda file, _: graph.write(file, snapshot, exporter.card(graph)))
        store.prune(2)

    return export


def disk(size: int, folder: Path) -> Callable[[], None]:
    """Return what writes and syncs that many bytes."""
    payload = memoryview(bytearray(size))

    def write() -> None:
        with (folder / "plain").open("wb") as file:
            file.write(payload)
            os.fsync(file.fileno())

    return write


if __name__ == "__main__":
    main()
