"""Publishing a version by putting new weights into a known graph, against exporting the model afresh, and against the disk.

Both ways end with a synced file whose graph ONNX Runtime has answered with as PyTorch did; the disk's is to write and sync as many bytes.

    python benchmarks/publish.py [MODEL ...]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

import timm
import torch

from exportweb import Store
from exportweb.exporters.exporter import Exporter, Graph
from exportweb.exporters.publisher import Publisher
from exportweb.exporters.weights import Snapshot
from measure import interleaved, ratio, table

MODELS = ["resnet18", "mobilenetv3_small_100", "vit_tiny_patch16_224", "vit_small_patch32_224", "resnet50"]
ROUNDS = 3


def main() -> None:
    rows = []
    for name in sys.argv[1:] or MODELS:
        torch.manual_seed(0)
        model = timm.create_model(name)
        exporter = Exporter(model)
        with tempfile.TemporaryDirectory() as folder:
            store, fresh = Store(Path(folder) / "store"), Store(Path(folder) / "fresh")
            publisher = Publisher(store, keep=2)
            publisher.prepare(exporter.graph, exporter.weights)

            def refresh(exporter: Exporter = exporter, publisher: Publisher = publisher) -> None:
                publisher.submit(exporter.current_graph(), exporter.weights, exporter.card(exporter.graph, epoch=1))
                publisher.flush()

            def export(exporter: Exporter = exporter, fresh: Store = fresh) -> None:
                graph = Graph(exporter.model, exporter.weights, exporter.description, exporter.beside)
                snapshot = Snapshot(exporter.weights)
                snapshot.take(exporter.weights)
                fresh.publish(lambda file, _: graph.write(file, snapshot, exporter.card(graph)))
                fresh.prune(2)

            refresh()
            size = store.path(store.latest().number).stat().st_size
            payload = memoryview(bytearray(size))

            def disk(payload: memoryview = payload, folder: str = folder) -> None:
                with (Path(folder) / "plain").open("wb") as file:
                    file.write(payload)
                    os.fsync(file.fileno())

            seconds = interleaved({"export": export, "refresh": refresh, "disk": disk}, rounds=ROUNDS, between=publisher.flush)
            publisher.close()
        median = {key: statistics.median(values) for key, values in seconds.items()}
        faster, slower = ratio(seconds["export"], seconds["refresh"]), ratio(seconds["refresh"], seconds["disk"])
        cells = [f"{size / 1e6:.0f}", f"{median['export']:.2f}", f"{median['refresh']:.3f}", f"{median['disk']:.3f}"]
        rows.append([name, *cells, f"**{faster:.0f}x**", f"{slower:.2f}x"])
    header = ["model", "MB", "fresh export, s", "refresh, s", "write and sync, s", "export / refresh", "refresh / disk"]
    table("Publishing a version", header, rows)


if __name__ == "__main__":
    main()
