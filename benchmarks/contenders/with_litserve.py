"""LitServe: as many workers as cores, without batches, which only slowed it down here."""

import os
from typing import Annotated, Any

import litserve
import pipeline
from fastapi import File


class Classifier(litserve.LitAPI):
    """One worker process."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.session = pipeline.session()

    def decode_request(self, request: Annotated[bytes, File()]) -> Any:  # read when it runs: no annotations as strings here
        """Decode one image."""
        return pipeline.prepare(request)

    def predict(self, x: Any) -> Any:
        """Answer it."""
        return pipeline.run(self.session, [x])[0]

    def encode_response(self, output: Any) -> Any:
        """Leave it as it is."""
        return output


if __name__ == "__main__":
    workers = os.cpu_count() or 1
    server = litserve.LitServer(Classifier(), accelerator="cpu", workers_per_device=workers, fast_queue=True, timeout=60)
    server.run(host="127.0.0.1", port=pipeline.PORT, log_level="warning", generate_client_file=False)
