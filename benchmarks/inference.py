"""How fast ONNX Runtime runs our artifacts, against the same module exported with PyTorch's default optimisation.

python benchmarks/inference.py [MODEL ...]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import timm
import torch

from exportweb.exporters.frameworks import Hints, describe
from exportweb.exporters.golden import mosaic
from exportweb.exporters.image_model import ImageModel
from exportweb.exporters.single import export
from exportweb.runtime.session import OnnxSession
from measure import interleaved, ratio, table

MODELS = ["resnet18", "resnet50", "mobilenetv3_small_100", "vit_tiny_patch16_224"]
ROUNDS = 30


def main() -> None:
    rows = []
    for name in sys.argv[1:] or MODELS:
        torch.manual_seed(0)
        model = timm.create_model(name).eval()
        image = describe(model, Hints()).input
        with tempfile.TemporaryDirectory() as folder:
            ours, default = Path(folder) / "ours.onnx", Path(folder) / "default.onnx"
            export(model, ours)
            wrapped = ImageModel(model, image).eval()
            example = torch.from_numpy(mosaic(image, batch=2))
            torch.onnx.export(
                wrapped, (example,), default, dynamo=True, optimize=True, external_data=False, verbose=False,
                input_names=["image"], output_names=["logits"], dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            )  # fmt: skip
            for batch in (1, 8):
                images = {"image": mosaic(image, batch=batch)}
                a, b = (OnnxSession(path, device="cpu", threads=1) for path in (ours, default))
                seconds = interleaved({"ours": lambda: a.run(images), "default": lambda: b.run(images)}, rounds=ROUNDS, warm=5)  # noqa: B023
                ms = [f"{statistics.median(seconds[key]) * 1e3:.1f}" for key in ("ours", "default")]
                rows.append([name, str(batch), *ms, f"**{ratio(seconds['ours'], seconds['default']):.2f}**"])
    table("Inference", ["model", "batch", "ours, ms", "optimize=True, ms", "ours / optimize=True"], rows)


if __name__ == "__main__":
    main()
