"""Proof that new weights can be put into a graph by name.

That every name is in the graph proves nothing by itself: an optimiser can leave a weight there under its name and use a folded copy, and a
module can have remembered what it computed from a weight. Nor do equal numbers, if both sides forgot the same weight. So both are
asked: each weight that matters is in the graph, and after all of them changed the graph still answers as PyTorch does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from exportweb.exporters import golden
from exportweb.exporters.weights import Snapshot
from exportweb.runtime.session import OnnxSession

if TYPE_CHECKING:
    from exportweb.exporters.exporter import Graph


def disprove(graph: Graph, snapshot: Snapshot) -> str | None:
    """Return why new weights can't be put into a graph; None if they can.

    `snapshot` holds the model's weights; they are changed in place.
    """
    graph.borrow(snapshot)
    batch = np.repeat(graph.sample, 3, axis=0)
    batch[1] = 255 - batch[1]
    batch[2] = batch[2][::-1]
    # Before anything else is changed: does a weight that isn't in the graph matter?
    before = golden.eager(graph.twin, batch)
    missing = [name for name, i in graph.names.items() if name in graph.template.missing and snapshot.tensors[i].is_floating_point()]
    absent = {graph.names[name] for name in missing}
    if absent:
        _perturb(snapshot, absent)
        if not np.array_equal(before, golden.eager(graph.twin, batch), equal_nan=True):
            return f"{missing[0]} (of {len(missing)} such) is not in the graph under its own name"
    _perturb(snapshot, set(graph.names.values()) - absent)
    expected = golden.eager(graph.twin, batch)
    with tempfile.TemporaryDirectory(prefix="exportweb-") as folder:
        path = Path(folder) / "proof.onnx"
        with path.open("wb") as file:
            file.writelines(graph.template.fill(snapshot.tensors))
        got = OnnxSession(path, device="cpu", threads=1).run({"image": batch})["logits"]
    worst = golden.difference(got, expected)
    if worst > golden.TOLERANCE:
        return f"with other weights in it, the graph's answers were {worst:.1e} off"
    return None


@torch.no_grad()
def _perturb(snapshot: Snapshot, which: set[int]) -> None:
    """Change each floating tensor by about a tenth, and what is zero too; what is positive (a variance) stays so."""
    random = torch.Generator().manual_seed(0)
    for i in sorted(which):
        tensor = snapshot.tensors[i]
        if tensor.is_floating_point():
            tensor.mul_(1 + 0.1 * (2 * torch.rand(tensor.shape, generator=random) - 1))
            tensor.add_(0.01 * torch.rand(tensor.shape, generator=random))
