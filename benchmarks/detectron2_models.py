"""detectron2's families, exported, refreshed and served, against `DefaultPredictor`'s own answers: the table in docs/coverage.md.

    python benchmarks/detectron2_models.py [--projects detectron2/projects] [NAME ...]

Needs detectron2. Each model is exported with random weights, given others by name, and served; then three pictures are asked about that
were not traced. Most models are those of tests/support/detectron2s.py: the zoo's configurations with few channels. PointRend and ViTDet
are in detectron2's folder of projects, which isn't installed with it. Seconds are of processor time, of one thread.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from detectors import picture
from detectron2s import build, by_role, config, lazy, mask, predicted, served_by_role, stir
from exportweb.exporters.detectron2_config import configure
from exportweb.exporters.exporter import Exporter
from exportweb.runtime import Predictor, matching
from measure import table

COVERAGE = Path(__file__).parents[1] / "docs" / "coverage.md"
SIZES = (100, 130), (240, 320), (333, 500)
SMALL = {
    "Faster R-CNN R50-FPN": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "Mask R-CNN R50-FPN": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "Keypoint R-CNN R50-FPN": "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml",
    "Cascade Mask R-CNN R50-FPN": "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
    "Faster R-CNN R50-C4": "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",
    "RetinaNet R50-FPN": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "RPN R50-FPN": "COCO-Detection/rpn_R_50_FPN_1x.yaml",
    "Semantic FPN R50": "Misc/semantic_R_50_FPN_1x.yaml",
    "Panoptic FPN R50": "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
}
LAZY = {
    "FCOS R50-FPN (LazyConfig)": "COCO-Detection/fcos_R_50_FPN_1x.py",
    "Mask R-CNN R50-FPN (LazyConfig)": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py",
}
FULL = "Mask R-CNN R50-FPN, full size"

Made = tuple[Any, Any, Any]  # a configuration for `configure`, one for DefaultPredictor, a model


def small(name: str) -> Made:
    """A configuration of the zoo with few channels."""
    cfg = config(SMALL[name])
    return cfg, cfg, build(cfg)


def by_lazy_config(name: str) -> Made:
    """A LazyConfig as it is, but for the size of pictures; only of those does DefaultPredictor read a configuration."""
    cfg, model = lazy(LAZY[name])
    if hasattr(model, "roi_heads"):
        model.roi_heads.box_predictor.test_score_thresh = 0.2
    return cfg, config(SMALL["RetinaNet R50-FPN"]), model


def full_size(name: str) -> Made:
    """The zoo's own configuration."""
    from detectron2 import model_zoo

    cfg = model_zoo.get_config(SMALL["Mask R-CNN R50-FPN"])
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    return cfg, cfg, build(cfg)


def point_rend(projects: Path) -> Made:
    """PointRend with a small backbone."""
    from detectron2.config import get_cfg
    from detectron2.projects.point_rend import add_pointrend_config

    cfg, little = get_cfg(), config(SMALL["Mask R-CNN R50-FPN"])
    add_pointrend_config(cfg)
    cfg.merge_from_file(str(projects / "PointRend/configs/InstanceSegmentation/pointrend_rcnn_R_50_FPN_1x_coco.yaml"))
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS, cfg.TEST.DETECTIONS_PER_IMAGE = "cpu", "", 20
    for name in ("RES2_OUT_CHANNELS", "STEM_OUT_CHANNELS", "WIDTH_PER_GROUP"):
        cfg.MODEL.RESNETS[name] = little.MODEL.RESNETS[name]
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST, cfg.MODEL.RPN.POST_NMS_TOPK_TEST, cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 200, 60, 0.2
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 96, 160
    return cfg, cfg, build(cfg)


def vitdet(projects: Path) -> Made:
    """ViTDet with four small blocks, for pictures padded to 256 x 256."""
    from detectron2.config import LazyConfig, instantiate

    cfg = LazyConfig.load(str(projects / "ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py"))
    cfg.model.backbone.net.update(img_size=256, embed_dim=48, depth=4, num_heads=4, window_size=4, window_block_indexes=[0, 2])
    cfg.model.backbone.square_pad = 256
    cfg.dataloader.test.mapper.augmentations[0].update(short_edge_length=256, max_size=256)
    torch.manual_seed(0)
    model = instantiate(cfg.model).eval()
    stir(model, seed=0)
    return cfg, config(SMALL["RetinaNet R50-FPN"], "INPUT.MIN_SIZE_TEST", 256, "INPUT.MAX_SIZE_TEST", 256, "INPUT.FORMAT", "RGB"), model


def measure(name: str, make: Callable[[str], Made]) -> list[str]:
    """Return a model's row."""
    cfg, of_predictor, model = make(name)
    configure(model, cfg)
    start = time.process_time()
    exporter = Exporter(model)
    export = time.process_time() - start
    stir(model, seed=5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"version{exporter.graph.suffix}"
        start = time.process_time()
        with path.open("wb") as file:
            card = exporter.write(file)
        refresh = time.process_time() - start
        served = Predictor.load(path, device="cpu", threads=1, trust_torchscript=True)
        worst: dict[str, float] = {}
        for size in SIZES:
            image = picture(*size)[0]
            for what, off in distances(served, png(image), predicted(of_predictor, model, image)).items():
                worst[what] = max(worst.get(what, 0.0), off)
    told = [f"{what} {off:.1e}" for what, off in worst.items()]
    answers = ", ".join(text if off <= 1e-3 or "pixels)" in text else f"**{text}**" for text, off in zip(told, worst.values(), strict=True))
    how = "by name" if exporter.graph.whole is None else f"**whole**: {exporter.graph.whole}"
    kind = "ONNX" if exporter.graph.suffix == ".onnx" else "TorchScript"
    return [name, kind, card.fallback or "", f"{export:.1f}", how, f"{refresh:.2f}", answers]


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def distances(served: Predictor, image: bytes, want: dict[str, Any]) -> dict[str, float]:
    """Return how far the served answer is from detectron2's; end if more than a few objects are missing on one side."""
    if "panoptic_seg" in want:
        return panoptic(served.predict(image), served, *want["panoptic_seg"])
    if "sem_seg" in want:
        classes = want["sem_seg"].argmax(0).numpy()
        got = np.full(classes.shape, -1)
        for one in served.predict(image):
            got[mask(one)] = served.card.labels.index(one["label"])
        return {"pixels": float((classes != got).mean())}
    expected = by_role(want.get("instances", want.get("proposals")))
    got = served_by_role(served.predict(image, threshold=0.0), served.card)
    same = matching.pairs(expected, got, tolerance=1e-3)
    alone = len(same.missing) + len(same.extra)
    if alone > matching.UNMATCHED * len(expected["scores"]) or not len(same.expected):
        raise SystemExit(f"{len(same.missing)} of {len(expected['scores'])} objects are missing, {len(same.extra)} are nowhere else")
    pairs = {role: (expected[role][same.expected], got[role][same.got]) for role in expected}
    found = {"boxes": _most(*pairs["boxes"]) / float(np.abs(expected["boxes"]).max()), "scores": _most(*pairs["scores"])}
    if alone:
        found["objects of one side alone, a share of"] = alone / len(expected["scores"])
    if "image-masks" in pairs:
        ours, theirs = pairs["image-masks"][1], pairs["image-masks"][0]
        found["masks"] = float((ours != theirs).sum() / max(1, theirs.sum()))
    if "keypoints" in pairs:
        found["keypoints (pixels)"] = _most(*(side[..., :2] for side in pairs["keypoints"]))
        found["their scores"] = _most(*(side[..., 2] for side in pairs["keypoints"]))
    return found


def panoptic(answer: list[dict[str, Any]], served: Predictor, segments: torch.Tensor, about: list[dict[str, Any]]) -> dict[str, float]:
    """Return the share of pixels that are in another segment, and the largest difference of a score; end if there are others."""
    names = [(served.card.labels if one["isthing"] else served.card.stuff)[one["category_id"]] for one in about]
    if names != [one["label"] for one in answer]:
        raise SystemExit(f"the segments are {[one['label'] for one in answer]}; detectron2's are {names}")
    off = sum(int((mask(one) != (segments.numpy() == each["id"])).sum()) for one, each in zip(answer, about, strict=True))
    scores = [abs(one["score"] - each["score"]) for one, each in zip(answer, about, strict=True) if each["isthing"]]
    return {"scores": max(scores, default=0.0), "pixels": off / segments.numel()}


def _most(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max(initial=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="how the names of models begin; all by default, and only all are written down")
    parser.add_argument("--projects", type=Path, help="detectron2's folder of projects, for PointRend and ViTDet")
    options = parser.parse_args()
    logging.getLogger("exportweb").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    made: dict[str, Callable[[str], Made]] = {**dict.fromkeys(SMALL, small), **dict.fromkeys(LAZY, by_lazy_config), FULL: full_size}
    if options.projects is not None:
        made["PointRend R50-FPN"] = lambda _: point_rend(options.projects)
        made["ViTDet, four small blocks (LazyConfig)"] = lambda _: vitdet(options.projects)
    rows = []
    for name, make in made.items():
        if not options.names or name.startswith(tuple(options.names)):
            rows.append(measure(name, make))
            print(rows[-1], flush=True)
    header = ["model", "format", "reason", "export, s", "refresh", "refresh, s", "served"]
    if not options.names:
        table("detectron2", header, rows, file=COVERAGE)


if __name__ == "__main__":
    main()
