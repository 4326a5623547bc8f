"""What every peer does, as its user would write it: Pillow, NumPy and ONNX Runtime on the same file that we serve."""

from __future__ import annotations

import io
import os

import numpy as np
import onnxruntime
from PIL import Image

MODEL, PORT = os.environ["MODEL"], int(os.environ["PORT"])
RESIZE, CROP = int(os.environ["RESIZE"]), int(os.environ["CROP"])


def session() -> onnxruntime.InferenceSession:
    """Return a session that runs on one thread: as many runs at once as there are cores use them better."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])


def prepare(image: bytes | bytearray | Image.Image) -> np.ndarray:
    """Return an image as the model takes it, uint8 [height, width, 3]."""
    if not isinstance(image, Image.Image):
        image = Image.open(io.BytesIO(image))
    image = image.convert("RGB")
    width, height = image.size
    short = min(width, height)
    width, height = int(width * RESIZE / short), int(height * RESIZE / short)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - CROP) / 2), round((height - CROP) / 2)
    return np.asarray(image.crop((left, top, left + CROP, top + CROP)))


def run(session: onnxruntime.InferenceSession, images: list[np.ndarray]) -> list[list[dict]]:
    """Return the five best classes of each image."""
    return [best(logits) for logits in session.run(None, {"image": np.stack(images)})[0]]


def best(logits: np.ndarray) -> list[dict]:
    """Return the five best classes as a server answers them."""
    scores = np.exp(logits - logits.max())
    scores /= scores.sum()
    top = np.argsort(-scores)[:5]
    return [{"label": f"class_{i}", "score": float(scores[i])} for i in top]
