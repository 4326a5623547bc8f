"""What fp16 and int8 gain in ONNX Runtime on this CPU: images a second against fp32, in turns, and the size of the file.

Calibrated on scikit-image's photos, by random weights: their classes are nearly tied, so what quantising costs in accuracy can't be seen
here; `exportweb export --calibrate` measures it.

    python benchmarks/precision.py [MODEL ...]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import skimage.data
import timm
import torch
from PIL import Image

from exportweb.exporters.golden import mosaic
from exportweb.exporters.precision import convert
from exportweb.exporters.single import export
from exportweb.runtime import Predictor
from measure import interleaved, ratio, table

MODELS = ["resnet18", "resnet50", "mobilenetv3_large_100", "vit_tiny_patch16_224"]
PHOTOS = ["astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry", "retina", "hubble_deep_field"]
ROUNDS = 20
BATCH = 8


def photos(folder: Path) -> Path:
    """Write the photos, and each of their quarters, as JPEG files; those that scikit-image would have to download are left out."""
    for name in PHOTOS:
        try:
            photo = Image.fromarray(getattr(skimage.data, name)())
        except Exception:
            continue
        width, height = photo.width // 2, photo.height // 2
        for i, (x, y) in enumerate([(0, 0), (width, 0), (0, height), (width, height)]):
            photo.crop((x, y, x + width, y + height)).save(folder / f"{name}-{i}.jpg")
        photo.save(folder / f"{name}.jpg")
    return folder


def main() -> None:
    rows = []
    for name in sys.argv[1:] or MODELS:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            images = photos(Path(folder))
            paths = {precision: Path(folder) / f"{precision}.onnx" for precision in ("fp32", "fp16", "int8")}
            export(timm.create_model(name), paths["fp32"])
            convert(paths["fp32"], paths["fp16"], precision="fp16")
            convert(paths["fp32"], paths["int8"], precision="int8", calibrate=images, tolerance=1)
            sizes = [f"{path.stat().st_size / 1e6:.1f}" for path in paths.values()]
            sessions = {precision: Predictor.load(path, device="cpu", threads=1).session for precision, path in paths.items()}
            description = Predictor.load(paths["fp32"], device="cpu").card.input
        assert description is not None
        for batch in (1, BATCH):
            feed = {description.name: np.ascontiguousarray(mosaic(description, batch=batch))}
            runs = {precision: (lambda session=session, feed=feed: session.run(feed)) for precision, session in sessions.items()}
            seconds = interleaved(runs, rounds=ROUNDS, warm=3)
            speeds = [f"{batch / statistics.median(seconds[precision]):.1f}" for precision in paths]
            gains = [f"**{ratio(seconds['fp32'], seconds[precision]):.2f}**" for precision in ("fp16", "int8")]
            rows.append([name, str(batch), *speeds, *gains, *(sizes if batch == 1 else [""] * 3)])
    header = ["model", "batch", "fp32, images/s", "fp16", "int8", "fp16 / fp32", "int8 / fp32", "fp32, MB", "fp16, MB", "int8, MB"]
    table("Precision", header, rows)


if __name__ == "__main__":
    main()
