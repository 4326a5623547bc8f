"""What publishing keeps in memory: over a thousand versions, and beyond the weights of a model.

    python benchmarks/memory.py [SMALL LARGE]

The process's resident memory, read from /proc. Growth is measured after the first hundred versions, in which allocators fill their pools.
A further copy of the weights, kept or made for a moment, would show as 1 more in the second table.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
from pathlib import Path

import timm
import torch

from exportweb import export, export_hook
from measure import table

VERSIONS = 1000
WARM = 100
MB = 1e6


def main() -> None:
    small, large = sys.argv[1:3] if len(sys.argv) > 2 else ("mobilenetv3_small_050", "resnet50")
    torch.manual_seed(0)
    growth(small)
    peak(large)


def resident() -> int:
    """Bytes of memory that the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(name: str) -> None:
    """How much a thousand versions add."""
    model = timm.create_model(name, num_classes=10)
    with tempfile.TemporaryDirectory() as folder, export_hook(model, to=Path(folder) / "store", keep=2) as hook:
        held = []
        for _ in range(VERSIONS):
            hook.step(accuracy=0.5)
            hook.flush()
            held.append(resident())
    rows = [[str(n), f"{held[n - 1] / MB:.0f}", f"{(held[n - 1] - held[WARM - 1]) / MB:+.1f}"] for n in (1, WARM, VERSIONS // 2, VERSIONS)]
    table(f"Memory over {VERSIONS} versions ({name})", ["version", "resident, MB", f"against version {WARM}, MB"], rows)


def peak(name: str) -> None:
    """How much more the process holds once the hook is attached, and at most while it publishes, in copies of the weights."""
    model = timm.create_model(name, num_classes=10)
    weights = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    with tempfile.TemporaryDirectory() as folder:
        export(timm.create_model("test_vit"), Path(folder) / "first.onnx")  # the libraries, which any export needs
    gc.collect()
    before = resident()
    with tempfile.TemporaryDirectory() as folder, export_hook(model, to=Path(folder) / "store", keep=2) as hook:
        gc.collect()
        attached = resident()
        with Highest() as highest:
            for _ in range(20):
                hook.step()
                hook.flush()
    # Two copies are snapshots of the weights; what the two forward passes of the check need comes on top, whatever the weights' size.
    rows = [
        [label, f"{value / MB:.0f}", f"{value / weights:.2f}"]
        for label, value in (
            ("attached, above the model alone", attached - before),
            ("publishing at most, above attached", highest.bytes - attached),
        )
    ]
    table(f"Memory beyond the model ({name}, {weights / MB:.0f} MB of weights)", ["", "MB", "copies of the weights"], rows)


class Highest:
    """The most memory that the process held during a block, looked at every few milliseconds."""

    def __enter__(self) -> Highest:
        self.bytes = resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self.bytes = max(self.bytes, resident())


if __name__ == "__main__":
    main()
