"""Publishing a version by putting new weights into a known graph, against exporting the model afresh.

Both end with a file in a store that ONNX Runtime has checked against PyTorch's own answer.

    python benchmarks/publish.py [MODEL ...]
"""

from __future__ import annotations

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

MODELS = ["resnet18", "mobilenetv3_small_100", "vit_tiny_patch16_224"]
ROUNDS = 3


def main() -> None:
    rows = []
    for name in sys.argv[1:] or MODELS:
        torch.manual_seed(0)
        model = timm.create_model(name)
        exporter = Exporter(model)
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "store")
            publisher = Publisher(store, keep=2)
            publisher.prepare(exporter.graph, exporter.weights)

            def refresh(exporter: Exporter = exporter, publisher: Publisher = publisher) -> None:
                publisher.submit(exporter.current_graph(), exporter.weights, exporter.card(exporter.graph, epoch=1))
                publisher.flush()

            def export(exporter: Exporter = exporter, folder: str = folder) -> None:
                graph = Graph(exporter.model, exporter.weights, exporter.description, exporter.beside)
                snapshot = Snapshot(exporter.weights)
                snapshot.take(exporter.weights)
                path = Path(folder) / "fresh.onnx"
                with path.open("wb") as file:
                    graph.write(file, snapshot, exporter.card(graph))

            seconds = interleaved({"export": export, "refresh": refresh}, rounds=ROUNDS)
            publisher.close()
            size = store.path(store.latest().number).stat().st_size / 1e6
        export_s, refresh_s = (statistics.median(seconds[key]) for key in ("export", "refresh"))
        rows.append(
            [name, f"{size:.0f}", f"{export_s:.2f}", f"{refresh_s:.3f}", f"**{ratio(seconds['export'], seconds['refresh']):.0f}x**"]
        )
    table("Publishing a version", ["model", "MB", "fresh export, s", "refresh, s", "export / refresh"], rows)


if __name__ == "__main__":
    main()
