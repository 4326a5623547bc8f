"""What a server holds after hundreds of versions: resident memory, open files and threads, while a client keeps asking.

    python benchmarks/swaps.py [--swaps 500] [MODEL ...]

Each version is published as soon as the one before it serves. Growth is measured from the
twentieth on; before, allocators fill their pools.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import psutil

from exportweb import Store
from fairness import ask
from measure import table
from serve import launch, photo
from swap import publish, two_versions

MODELS = ["mobilenetv3_small_050", "resnet50"]
WARM = 20


def measure(name: str, swaps: int) -> list[list[str]]:
    """Return the rows of a model: after the first `WARM` swaps, half of them, and all."""
    rows, first = [], (0, 0, 0)
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        versions = two_versions(name, folder)
        store = Store(folder / "store")
        publish(store, versions[0])
        server = launch(store.folder)
        (process,) = psutil.Process().children()
        stop = threading.Event()
        client = threading.Thread(target=ask, args=(server.url.removeprefix("http://"), "/predict", photo(), stop))
        client.start()
        for count in range(1, swaps + 1):
            number = publish(store, versions[count % 2])
            store.prune(2)
            while json.load(urllib.request.urlopen(f"{server.url}/versions"))["serving"] != number:
                time.sleep(0.02)
            if count in (WARM, swaps // 2, swaps):
                time.sleep(1)  # until the version before is gone
                held = process.memory_info().rss, process.num_fds(), process.num_threads()
                first = first if first[0] else held
                cells = [f"{held[0] / 1e6:.0f}", f"**{held[0] / first[0]:.2f}x**", *map(str, held[1:])]
                rows.append([name if count == WARM else "", str(count), *cells])
        stop.set()
        client.join()
        server.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--swaps", type=int, default=500)
    options = parser.parse_args()
    rows = [row for name in options.models for row in measure(name, options.swaps)]
    table("Hundreds of swaps", ["model", "swaps", "resident, MB", f"against {WARM}", "open files", "threads"], rows)


if __name__ == "__main__":
    main()
