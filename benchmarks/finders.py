"""The detectors and segmenters among what benchmarks/coverage.py tries: how they are made and compared."""

from __future__ import annotations

import io
import re
import tempfile
import time
from pathlib import Path
from typing import Any

COLUMNS = ("model", "format", "MB", "refresh", "attach, s", "version, s", "objects", "parity", "served")
HEADING = """## Detectors and segmenters

torchvision's, and transformers' built from small configurations (RT-DETRv2, for which it names no processor, with an example).
Pictures of three sizes that were not traced are answered with other weights than at the export, and with no threshold. *objects*: how many
the model itself found in them. *parity*: the largest distance of a box or a keypoint, in shares of the picture's longest edge, of a score
(a keypoint's, which is a logit, in shares of the largest, but for 1 % of them), and of the pixels of masks, but for 1 % of them; of a
segmenter, `max|ONNX - PyTorch| / max|PyTorch|`. Up to 5 % of the objects, near-ties of a suppression, may be others, and up to 5 % of the
keypoints, where a heatmap is nearly as large, elsewhere. *served*: whether the answers to the pictures' files hold as many objects, or
regions that fill the picture."""
SIZES = (200, 320), (352, 240), (256, 256)  # height, width

_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16, 32, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}
_BACKBONES = {"ResNet": _RESNET, "RTDetrResNet": _RESNET}
_DETR = {
    **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
    **{"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_queries": 20, "use_timm_backbone": False, "backbone": None},
}
_RT_DETR = {
    **{"d_model": 32, "encoder_hidden_dim": 32, "encoder_ffn_dim": 32, "encoder_attention_heads": 2, "encoder_in_channels": [16, 32, 32]},
    **{"decoder_ffn_dim": 32, "decoder_attention_heads": 2, "decoder_layers": 2, "decoder_in_channels": [32, 32, 32], "num_queries": 20},
    "backbone": None,
}
_SEGFORMER = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16}
_VIT = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 32}
_BEIT = {**_VIT, "image_size": 64, "use_relative_position_bias": True, "auxiliary_channels": 8}
_DPT = {"image_size": 64, "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8, "backbone_out_indices": [0, 1, 2, 3]}
_LATE, _LAST = ["stage2", "stage3", "stage4"], ["stage4"]
_ALL = ["stage1", *_LATE]
# By name: what for, its settings, and its backbone with the stages that it is read at.
TRANSFORMERS: dict[str, tuple[str, dict[str, Any], str, list[str]]] = {
    "Detr": ("ObjectDetection", _DETR, "ResNet", _LAST),
    "ConditionalDetr": ("ObjectDetection", _DETR, "ResNet", _LAST),
    "DeformableDetr": ("ObjectDetection", _DETR, "ResNet", _LATE),
    "TableTransformer": ("ObjectDetection", _DETR, "ResNet", _LAST),
    "Yolos": ("ObjectDetection", {**_VIT, "image_size": [64, 96], "num_detection_tokens": 20}, "", []),
    "RTDetr": ("ObjectDetection", _RT_DETR, "RTDetrResNet", _LATE),
    "RTDetrV2": ("ObjectDetection", _RT_DETR, "RTDetrResNet", _LATE),
    "Segformer": ("SemanticSegmentation", _SEGFORMER, "", []),
    "Beit": ("SemanticSegmentation", {**_BEIT, "out_indices": [1, 2, 3, 4]}, "", []),
    "Data2VecVision": ("SemanticSegmentation", {**_BEIT, "out_indices": [0, 1, 2, 3]}, "", []),
    "DPT": ("SemanticSegmentation", {**_VIT, **_DPT}, "", []),
    "MobileNetV2": ("SemanticSegmentation", {"image_size": 64, "depth_multiplier": 0.35}, "", []),
    "MobileViT": ("SemanticSegmentation", {"image_size": 64}, "", []),
    "UperNet": ("SemanticSegmentation", {"hidden_size": 16, "auxiliary_in_channels": 32, "auxiliary_channels": 8}, "ResNet", _ALL),
}
SHOWN = {"transformers/RTDetrV2": (320, 320)}  # height, width of an example: no processor is its family's
TORCHVISION = (
    *("fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn"),
    *("fasterrcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn"),
    *("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn", "ssd300_vgg16", "ssdlite320_mobilenet_v3_large"),
    *("deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "fcn_resnet50", "lraspp_mobilenet_v3_large"),
)
# The last layers before scores: those of SSD have numbers, and SSDlite's are the second in a row of two.
_LOGITS = re.compile(r".*\.(cls_logits|cls_score|mask_fcn_logits|kps_score_lowres|classification_head\.module_list\.\d+(\.1)?)")
SPECS = [*(f"torchvision/{name}" for name in TORCHVISION), *(f"transformers/{name}" for name in TRANSFORMERS)]


def create(spec: str) -> Any:
    """Make a model with random weights, that finds everything."""
    import torch

    framework, _, name = spec.partition("/")
    if framework == "torchvision":
        import torchvision

        model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=7 if "keypoint" not in name else 2)
        for holder in (getattr(model, "roi_heads", None), model):
            if hasattr(holder, "score_thresh"):
                holder.score_thresh = 0.0
        # Of LR-ASPP it would make one that magnifies what is rounded: PyTorch's own float32 and float64 are then apart, too.
        return model if name.startswith("lraspp") else _awake(model.eval())
    import transformers

    task, settings, backbone, stages = TRANSFORMERS[name]
    if backbone:
        made = getattr(transformers, f"{backbone}Config")(**_BACKBONES[backbone], out_features=stages)
        settings = {**settings, "backbone_config": made}
    model = getattr(transformers, f"{name}For{task}")(getattr(transformers, f"{name}Config")(num_labels=5, **settings))
    # Its own random weights are so small that nothing of a picture is left at the end. RT-DETR magnifies with larger ones what is rounded:
    # PyTorch's own float32 and float64 are then apart, too.
    gain = "linear" if name.startswith("RTDetr") else "relu"
    for key, tensor in model.named_parameters():
        if tensor.ndim > 1:
            torch.nn.init.kaiming_normal_(tensor, nonlinearity=gain)
        elif key.endswith("weight"):  # of a normalisation
            torch.nn.init.ones_(tensor)
    return model


def _awake(model: Any) -> Any:
    """Do for a model of torchvision's what training does for the size of numbers: with its own random weights they vanish on their way
    through the network, or grow, until any picture has the same scores. Normalisations get the statistics of pictures, and the
    logits of classes, masks and keypoints are spread by a quarter: what is put into the weights later makes more of it.
    """
    import torch
    from torch import nn

    pictures: Any = torch.rand(3, 3, 9, 9).repeat_interleave(25, 2).repeat_interleave(35, 3)
    if hasattr(model, "transform"):  # a detector, which takes a list
        pictures = list(pictures)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average of all
        norm.train()
    with torch.no_grad():
        model(pictures)
        for norm in norms:
            norm.eval()
        for layer in (module for name, module in model.named_modules() if _LOGITS.fullmatch(name) and hasattr(module, "weight")):
            spreads: list[Any] = []
            hook = layer.register_forward_hook(lambda _, inputs, logits: spreads.append(logits.std(dim=(0, *range(2, logits.ndim)))))  # noqa: B023
            model(pictures)
            hook.remove()
            layer.weight.div_(4 * torch.stack(spreads).mean(1).max())
    return model


def how_refreshed(exporter: Any, traced: Any) -> str:
    """Return how an exporter wrote a version since its graph was `traced`, what does not hold in bold."""
    if exporter.graph.whole is not None:
        return f"**whole**: {exporter.graph.whole}"
    return "by name" if exporter.graph is traced else "**traced again**"


def one(spec: str) -> dict[str, Any]:
    """Export a model, change its weights, publish a version, and compare what it answers with the model."""
    import numpy as np
    import torch
    from PIL import Image

    from exportweb.exporters import golden
    from exportweb.exporters.exporter import Exporter
    from exportweb.exporters.frameworks import Hints
    from exportweb.runtime.predictor import Predictor

    torch.manual_seed(0)
    model = create(spec)
    start = time.perf_counter()
    exporter = Exporter(model, hints=Hints(torch.zeros(1, 3, *SHOWN[spec])) if spec in SHOWN else None)
    attach, traced = time.perf_counter() - start, exporter.graph
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
            if _alike(expected, golden.eager(itself, 255 - image, exporter.graph.outputs)):
                raise SystemExit(f"{spec}: any picture has the same answer; of such a model there is nothing to compare")
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
            far += _distances(expected, row, edge=max(image.shape[1:3]))
            answer = predictor.predict(file_.getvalue(), threshold=0.0, **({"masks": "none"} if "masks" in exporter.graph.outputs else {}))
            objects += len(expected["scores"])
            within = np.clip(expected["boxes"], 0, np.tile(image.shape[2:0:-1], 2))
            shown = int((within[:, 2:] > within[:, :2]).all(axis=1).sum())  # what has no area is not answered
            served &= abs(len(answer) - shown) <= 0.05 * len(expected["scores"])
        size_ = path.stat().st_size / 1e6
    return {
        **{"mb": size_, "refresh": how_refreshed(exporter, traced), "attach": attach, "version": version},
        **{"objects": objects, "worst": float(max(far)), "served": bool(served)},
    }


def cells(found: dict[str, Any]) -> list[str]:
    """Return the cells of a row behind the model's name, with what does not hold in bold."""
    if "error" in found:
        return ["**none**", "", f"**{found['error'][:200].replace('|', '/')}**", *[""] * (len(COLUMNS) - 4)]
    return [
        "ONNX",
        f"{found['mb']:.1f}",
        found["refresh"],
        f"{found['attach']:.1f}",
        f"{found['version']:.2f}",
        str(found["objects"] or ""),
        f"{found['worst']:.0e}" if found["worst"] <= 1e-3 else f"**{found['worst']:.0e}**",
        "yes" if found["served"] else "**no**",
    ]


def _alike(one: Any, other: Any) -> bool:
    """Whether the answers to two pictures hold the same objects, or scores that differ by less than 1 % of the largest everywhere."""
    import numpy as np

    from exportweb.exporters import golden

    if "semantic" not in one:
        return golden.disagreement(one, other) is None
    return bool(np.abs(one["semantic"] - other["semantic"]).max() <= 0.01 * np.abs(one["semantic"]).max())


def _distances(expected: Any, got: Any, *, edge: int) -> list[float]:
    """Return how far the objects that both sides have are off, at most: boxes and keypoints in shares of an edge of so many pixels, scores,
    masks.
    """
    import numpy as np

    from exportweb.runtime import matching

    pairs = matching.pairs(expected, got, tolerance=1e-3)
    off = {role: np.abs(expected[role][pairs.expected] - got[role][pairs.got]) for role in expected if role != "classes"}
    if "keypoints" in off:
        places, there = off["keypoints"][..., :2], expected["keypoints"]
        off["keypoints"] = off["keypoints"][..., 2] / max(1.0, np.abs(there[..., 2]).max(initial=0))
        off["places"] = places[places.max(axis=2) <= 1e-3 * np.abs(there).max(initial=0)] / edge
    off["boxes"] = off["boxes"] / edge
    return [float(np.quantile(array, 0.99) if role in ("masks", "keypoints") else array.max(initial=0)) for role, array in off.items()]
