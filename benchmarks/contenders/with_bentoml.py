"""BentoML: as many workers as cores, without batches, with which it was a third slower here."""

from __future__ import annotations

import os

import bentoml
import pipeline
from PIL.Image import Image


@bentoml.service(
    workers=os.cpu_count() or 1,
    threads=4,
    traffic={"timeout": 60, "max_concurrency": 512},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Classifier:
    """One worker process."""

    def __init__(self) -> None:
        self.session = pipeline.session()

    @bentoml.api
    def predict(self, image: Image) -> list[dict]:
        """Answer one image."""
        return pipeline.run(self.session, [pipeline.prepare(image)])[0]
