"""mosec: a front in Rust, and as many workers as cores, each of which decodes and runs batches of up to four."""

from __future__ import annotations

import os
import sys

import pipeline
from mosec import Server, Worker


class Classifier(Worker):
    """One worker process."""

    def __init__(self) -> None:
        self.session = pipeline.session()

    def deserialize(self, data: bytes) -> object:
        """Decode one image."""
        return pipeline.prepare(data)

    def forward(self, data: list) -> list:
        """Answer a batch."""
        return pipeline.run(self.session, data)


if __name__ == "__main__":
    sys.argv += ["--address", "127.0.0.1", "--port", str(pipeline.PORT), "--timeout", "60000", "--log-level", "warning"]
    server = Server()
    server.append_worker(Classifier, num=os.cpu_count() or 1, max_batch_size=4, max_wait_time=5)
    server.run()
