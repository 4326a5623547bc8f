"""detectron2's families, exported, refreshed and served, against `DefaultPredictor`'s own answers: the table in docs/coverage.md.

    python benchmarks/detectron2_models.py [--projects detectron2/projects] [--trained 300] [NAME ...]

Needs detectron2. Each model is exported with random weights, given others by name, and served; then three pictures are sent over HTTP that
were not traced. So that it can be told what is the arithmetic's own, `DefaultPredictor` answers a second time in float64. Most models are
those of tests/support/detectron2s.py: the zoo's configurations with few channels. PointRend and ViTDet are in detectron2's folder of
projects, which isn't installed with it. Seconds are of processor time, of one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import io
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from detectors import picture
from detectron2s import build, by_role, config, distances, lazy, predicted, served_by_role, stir
from exportweb.exporters.detectron2_config import configure
from exportweb.exporters.exporter import Exporter
from finders import how_refreshed
from measure import table
from serving import Server

COVERAGE = Path(__file__).parents[1] / "docs" / "coverage.md"
SIZES = (100, 130), (240, 320), (333, 500)
PATIENCE = 600  # seconds for an answer, on a busy machine
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
TRAINED = f"{FULL}, trained"


def squares() -> list[np.ndarray]:
    """Pictures of squares, uint8 [height, width, 3]."""
    return [picture(*size)[0] for size in SIZES]


class Made(NamedTuple):
    """A model to be exported, its configurations for `configure` and for DefaultPredictor, what gives it other weights, and pictures."""

    cfg: Any
    of_predictor: Any
    model: torch.nn.Module
    change: Callable[[torch.nn.Module], object] = functools.partial(stir, seed=5)
    pictures: Callable[[], list[np.ndarray]] = squares


def small(name: str) -> Made:
    """A configuration of the zoo with few channels."""
    cfg = config(SMALL[name])
    return Made(cfg, cfg, build(cfg))


def by_lazy_config(name: str) -> Made:
    """A LazyConfig as it is, but for the size of pictures; only of those does DefaultPredictor read a configuration."""
    cfg, model = lazy(LAZY[name])
    if hasattr(model, "roi_heads"):
        model.roi_heads.box_predictor.test_score_thresh = 0.2
    return Made(cfg, config(SMALL["RetinaNet R50-FPN"]), model)


def full_size(name: str) -> Made:
    """The zoo's own configuration."""
    from detectron2 import model_zoo

    cfg = model_zoo.get_config(SMALL["Mask R-CNN R50-FPN"])
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    return Made(cfg, cfg, build(cfg))


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
    return Made(cfg, cfg, build(cfg))


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
    of_predictor = config(SMALL["RetinaNet R50-FPN"], "INPUT.MIN_SIZE_TEST", 256, "INPUT.MAX_SIZE_TEST", 256, "INPUT.FORMAT", "RGB")
    return Made(cfg, of_predictor, model)


def trained(iterations: int) -> Made:
    """The zoo's own configuration, but for what training from random weights needs; the other weights are those of so many iterations."""
    import detectron2_trained

    cfg = detectron2_trained.config()
    learned = detectron2_trained.train(cfg, iterations).state_dict()
    return Made(cfg, cfg, build(cfg), lambda model: model.load_state_dict(learned), lambda: detectron2_trained.pictures(SIZES))


def measure(name: str, make: Callable[[str], Made]) -> list[str]:
    """Return a model's row."""
    cfg, of_predictor, model, change, pictures = make(name)
    configure(model, cfg)
    start = time.process_time()
    exporter = Exporter(model)
    export, traced = time.process_time() - start, exporter.graph
    change(model)
    served: dict[str, float] = {}
    own: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"version{exporter.graph.suffix}"
        start = time.process_time()
        with path.open("wb") as file:
            card = exporter.write(file)
        refresh = time.process_time() - start
        double = copy.deepcopy(model).double()
        query = "" if card.task in ("semantic-segmentation", "panoptic-segmentation") else "?threshold=0"
        options = ("--device", "cpu", "--threads", "1", "--timeout", str(PATIENCE), "--trust-torchscript")
        with Server(*options, path, log=Path(folder) / "log") as server:
            server.http.timeout = PATIENCE
            for image in pictures():
                answer = server.http.post(f"/predict{query}", content=png(image)).raise_for_status().json()
                expected = by_role(predicted(of_predictor, model, image))
                _worst(served, distances(expected, served_by_role(answer, card)))
                with in_float64():
                    exact = by_role(predicted(of_predictor, double, image))
                _worst(own, distances(exact, expected))
    kind = "ONNX" if exporter.graph.suffix == ".onnx" else "TorchScript"
    return [name, kind, card.fallback or "", f"{export:.1f}", how_refreshed(exporter, traced), f"{refresh:.2f}", _told(served), _told(own)]


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Meanwhile detectron2 takes a float64 model, and doesn't round boxes to float32 on the way, as it else does in places."""
    from detectron2.structures import Boxes

    init, rounded, sample = Boxes.__init__, torch.Tensor.float, functional.grid_sample
    Boxes.__init__ = lambda self, tensor: setattr(self, "tensor", tensor)
    torch.Tensor.float = torch.Tensor.double
    functional.grid_sample = lambda values, places, **how: sample(values, places.to(values.dtype), **how)  # PointRend's are float32
    try:
        yield
    finally:
        Boxes.__init__, torch.Tensor.float, functional.grid_sample = init, rounded, sample


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _worst(so_far: dict[str, float], off: dict[str, float]) -> None:
    so_far.update({what: max(so_far.get(what, 0.0), value) for what, value in off.items()})


def _told(off: dict[str, float]) -> str:
    texts = (f"{what} {value:.1e}" for what, value in off.items())
    return ", ".join(text if value <= 1e-3 else f"**{text}**" for text, value in zip(texts, off.values(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="how the names of models begin; all by default, and only all are written down")
    parser.add_argument("--projects", type=Path, help="detectron2's folder of projects, for PointRend and ViTDet")
    parser.add_argument("--trained", type=int, metavar="ITERATIONS", help="also train a model of full size so long: about 1.5 s each")
    options = parser.parse_args()
    logging.getLogger("exportweb").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    made: dict[str, Callable[[str], Made]] = {**dict.fromkeys(SMALL, small), **dict.fromkeys(LAZY, by_lazy_config), FULL: full_size}
    if options.trained is not None:
        made[TRAINED] = lambda _: trained(options.trained)
    if options.projects is not None:
        made["PointRend R50-FPN"] = lambda _: point_rend(options.projects)
        made["ViTDet, four small blocks (LazyConfig)"] = lambda _: vitdet(options.projects)
    rows = []
    for name, make in made.items():
        if not options.names or name.startswith(tuple(options.names)):
            rows.append(measure(name, make))
            print(rows[-1], flush=True)
    header = ["model", "format", "reason", "export, s", "refresh", "refresh, s", "served", "float32 against float64"]
    if not options.names:
        table("detectron2", header, rows, file=COVERAGE)


if __name__ == "__main__":
    main()
