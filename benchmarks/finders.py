"""The detectors and segmenters among what benchmarks/coverage.py tries: how they are made and compared."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path
from typing import Any

COLUMNS = ("model", "format", "MB", "refresh", "attach, s", "version, s", "objects", "parity", "served")
HEADING = """## Detectors and segmenters

Three of torchvision's smaller ones; five of transformers', built from a small configuration. Pictures of three sizes that were not traced
are answered with other weights than at the export, and with no threshold. *objects*: how many the model itself found in them. *parity*: the
largest distance of a box, in shares of the picture's longest edge, and of a score; of a segmenter, `max|ONNX - PyTorch| / max|PyTorch|`. Up
to 5 % of the objects, near-ties of a suppression, may be others. *served*: whether the answers to the pictures' files hold as many objects,
or regions that fill the picture."""
SIZES = (200, 320), (352, 240), (256, 256)  # height, width

_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16, 32, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}
_DETR = {
    **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
    **{"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_queries": 20, "use_timm_backbone": False, "backbone": None},
}
_RT_DETR = {
    **{"d_model": 32, "encoder_hidden_dim": 32, "encoder_ffn_dim": 32, "encoder_attention_heads": 2, "encoder_in_channels": [16, 32, 32]},
    **{"decoder_ffn_dim": 32, "decoder_attention_heads": 2, "decoder_layers": 2, "decoder_in_channels": [32, 32, 32], "num_queries": 20},
}
_SEGFORMER = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16}
TRANSFORMERS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "Detr": ("ObjectDetection", _DETR, ["stage4"]),
    "ConditionalDetr": ("ObjectDetection", _DETR, ["stage4"]),
    "DeformableDetr": ("ObjectDetection", _DETR, ["stage2", "stage3", "stage4"]),
    "RTDetr": ("ObjectDetection", _RT_DETR, ["stage2", "stage3", "stage4"]),
    "Segformer": ("SemanticSegmentation", _SEGFORMER, []),
}
TORCHVISION = ("fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
SPECS = [*(f"torchvision/{name}" for name in TORCHVISION), *(f"transformers/{name}" for name in TRANSFORMERS)]


def create(spec: str) -> Any:
    """Make a model with random weights, that finds everything."""
    framework, _, name = spec.partition("/")
    if framework == "torchvision":
        import torchvision

        model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=7 if "keypoint" not in name else 2)
        for holder in (getattr(model, "roi_heads", None), model):
            if hasattr(holder, "score_thresh"):
                holder.score_thresh = 0.0
        return model
    import transformers

    task, settings, stages = TRANSFORMERS[name]
    if stages:
        kind = transformers.RTDetrResNetConfig if name == "RTDetr" else transformers.ResNetConfig
        settings = {**settings, "backbone": None, "backbone_config": kind(**_RESNET, out_features=stages)}
    return getattr(transformers, f"{name}For{task}")(getattr(transformers, f"{name}Config")(num_labels=5, **settings))


def one(spec: str) -> dict[str, Any]:
    """Export a model, change its weights, publish a version, and compare what it answers with the model."""
    import numpy as np
    import torch
    from PIL import Image

    from exportweb.exporters import golden
    from exportweb.exporters.exporter import Exporter
    from exportweb.runtime.predictor import Predictor

    torch.manual_seed(0)
    model = create(spec)
    start = time.perf_counter()
    exporter = Exporter(model)
    attach = time.perf_counter() - start
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_((tensor == 0) * 0.05 * torch.randn_like(tensor)).mul_(0.8 + 0.4 * torch.rand_like(tensor))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "version.onnx"
        start = time.perf_counter()
        with path.open("wb") as file:
            exporter.write(file)
        version = time.perf_counter() - start
        predictor = Predictor.load(path, device="cpu")
        itself = exporter.graph.wrap(model.eval())  # the model, not the copy that was exported
        far, served, objects = [], True, 0
        for size in SIZES:
            small = np.random.default_rng(size[0]).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            file_ = io.BytesIO()
            Image.fromarray(small).resize(size[::-1], Image.Resampling.NEAREST).save(file_, "PNG")
            prepared = predictor.prepare(file_.getvalue())
            (row,) = predictor.infer([prepared])
            image = prepared.arrays["image"][None]
            expected = golden.eager(itself, image, exporter.graph.outputs)
            if "semantic" in expected:
                want, got = expected["semantic"], row["semantic"][None]
                far.append(np.abs(got - want).max() / np.abs(want).max())
                regions = predictor.predict(file_.getvalue(), format="coco", masks="rle")["annotations"]
                served &= sum(region["area"] for region in regions) == size[0] * size[1]
                continue
            if exporter.description.batch:
                expected = {name: array[0] for name, array in expected.items()}
            off = golden.disagreement(row, expected)
            if off is not None:
                raise SystemExit(f"{spec}: {off}")
            boxes, scores = _distances(expected, row)
            far += [boxes / max(image.shape[1:3]), scores]
            answer = predictor.predict(file_.getvalue(), threshold=0.0, **({"masks": "none"} if "masks" in exporter.graph.outputs else {}))
            objects += len(expected["scores"])
            served &= abs(len(answer) - len(expected["scores"])) <= 0.05 * len(expected["scores"])
        size_ = path.stat().st_size / 1e6
    return {
        **{"mb": size_, "whole": exporter.graph.whole, "attach": attach, "version": version},
        **{"objects": objects, "worst": float(max(far)), "served": bool(served)},
    }


def cells(found: dict[str, Any]) -> list[str]:
    """Return the cells of a row behind the model's name, with what does not hold in bold."""
    if "error" in found:
        return ["**none**", "", f"**{found['error'][:200].replace('|', '/')}**", *[""] * (len(COLUMNS) - 4)]
    return [
        "ONNX",
        f"{found['mb']:.1f}",
        "by name" if found["whole"] is None else f"**whole**: {found['whole']}",
        f"{found['attach']:.1f}",
        f"{found['version']:.2f}",
        str(found["objects"] or ""),
        f"{found['worst']:.0e}" if found["worst"] <= 1e-3 else f"**{found['worst']:.0e}**",
        "yes" if found["served"] else "**no**",
    ]


def _distances(expected: Any, got: Any) -> tuple[float, float]:
    """Return the largest distance of a box, in pixels, and of a score, among the objects that both sides have."""
    import numpy as np

    from exportweb.runtime import matching

    pairs = matching.pairs(expected, got, tolerance=1e-3)
    return tuple(float(np.abs(expected[role][pairs.expected] - got[role][pairs.got]).max(initial=0)) for role in ("boxes", "scores"))
