"""Train detectron2's Mask R-CNN, by its own trainer, to find balloons, and watch it learn in the browser.

    python examples/detectron2_balloon.py

The pictures are made here: balloons of any colour and size before a sky, with boxes and outlines. Nothing is downloaded: the weights are
random, so the network is a small one for small pictures. Drop one of runs/balloon-pictures/test on the page. detectron2 has to be
installed, as its own instructions say.
"""

from __future__ import annotations

import argparse
import contextlib
import warnings
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import BoxMode
from detectron2.utils.events import CommonMetricPrinter, EventWriter
from PIL import Image, ImageDraw

from exportweb.exporters.detectron2 import ExportHook

SIDE = 128  # pixels
TRAIN, TEST = "balloons_train", "balloons_test"


def make_pictures(folder: Path, count: int, seed: int) -> list[dict]:
    """Draw pictures of SIDE x SIDE pixels into a folder; return them as detectron2's dataset dicts."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for number in range(count):
        sky = np.linspace(random.integers(90, 255, 3), random.integers(90, 255, 3), SIDE)[:, None].repeat(SIDE, axis=1)
        image = Image.fromarray((sky + random.normal(0, 8, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8))
        pen, balloons = ImageDraw.Draw(image), []
        for _ in range(random.integers(1, 5)):
            width, (x, y) = random.uniform(14, 40), random.uniform(22, SIDE - 26, 2)
            outline = _outline(x, y, width / 2, width * random.uniform(0.55, 0.7))
            if any(np.hypot(x - other[0], y - other[1]) < 0.7 * (width + other[2]) for other in balloons):
                continue  # so that outlines are what is seen
            balloons.append((x, y, width, outline))
            pen.line([(x, outline[:, 1].max()), (x + random.uniform(-6, 6), SIDE)], fill=(70, 70, 70))
            pen.polygon([tuple(point) for point in outline], fill=tuple(random.integers(0, 256, 3).tolist()))
            pen.ellipse((x - width / 4, y - width / 3, x - width / 9, y - width / 6), fill=(255, 255, 255))
        path = folder / f"{number:04d}.png"
        image.save(path)
        pictures.append(
            {
                "file_name": str(path),
                "image_id": number,
                "height": SIDE,
                "width": SIDE,
                "annotations": [
                    {
                        "bbox": [*outline.min(axis=0), *outline.max(axis=0)],
                        "bbox_mode": BoxMode.XYXY_ABS,
                        "segmentation": [outline.reshape(-1).tolist()],
                        "category_id": 0,
                    }
                    for *_, outline in balloons
                ],
            }
        )
    return pictures


def _outline(x: float, y: float, across: float, down: float) -> np.ndarray:
    """A balloon's outline [32, 2]: an ellipse that is narrower below."""
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    narrow = 1 - 0.25 * np.sin(angle).clip(0)
    return np.stack([x + across * narrow * np.cos(angle), y + down * np.sin(angle)], axis=1).clip(0, SIDE - 1)


def make_config(iterations: int) -> CfgNode:
    """A small Mask R-CNN with a pyramid, from random weights."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.WEIGHTS = "GeneralizedRCNN", ""
    cfg.MODEL.PIXEL_STD = [57.4, 57.1, 58.4]
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 0
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.NORM, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, "BN", 64
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS, cfg.MODEL.FPN.NORM = 64, "GN"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES, cfg.MODEL.RPN.IN_FEATURES = [[12], [24], [48], [96]], ["p2", "p3", "p4", "p5"]
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 200
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN, cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 200, 50
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_HEADS.IN_FEATURES = "StandardROIHeads", ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 1, 32
    cfg.MODEL.ROI_BOX_HEAD.NAME, cfg.MODEL.ROI_BOX_HEAD.NUM_FC, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = "FastRCNNConvFCHead", 2, 128
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    cfg.MODEL.MASK_ON, cfg.MODEL.ROI_MASK_HEAD.NAME = True, "MaskRCNNConvUpsampleHead"
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV, cfg.MODEL.ROI_MASK_HEAD.CONV_DIM, cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 2, 32, 14
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TEST = (SIDE,), SIDE, 2 * SIDE, 2 * SIDE
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.DATALOADER.NUM_WORKERS = (TRAIN,), (TEST,), 0
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 4, iterations, (int(iterations * 0.8),)
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.CHECKPOINT_PERIOD = 0.005, min(100, iterations // 4), iterations
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    return cfg


class Trainer(DefaultTrainer):
    """detectron2's own, which tests in the end, and writes its losses where they can be read: here, and on the page."""

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, name: str, folder: str | None = None) -> COCOEvaluator:
        """Measure as COCO does."""
        return COCOEvaluator(name, output_dir=folder or cfg.OUTPUT_DIR)

    def build_writers(self) -> list[EventWriter]:
        """Print."""
        return [CommonMetricPrinter(self.max_iter)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--every", type=int, default=50, help="iterations from one version to the next (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--no-serve", dest="serve", action="store_false", help="only publish versions, start no server")
    parser.add_argument("--store", default="runs/balloon", help="where the versions go (default: %(default)s)")
    options = parser.parse_args()

    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.manual_seed(0)
    pictures = Path(f"{options.store}-pictures")
    for name, count, seed in ((TRAIN, 300, 0), (TEST, 50, 1)):
        made = make_pictures(pictures / name.rpartition("_")[2], count, seed)
        DatasetCatalog.register(name, lambda made=made: made)
        MetadataCatalog.get(name).set(thing_classes=["balloon"])
    cfg = make_config(options.iterations)
    cfg.OUTPUT_DIR = f"{options.store}-detectron2"
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)

    trainer = Trainer(cfg)
    hook = ExportHook(every=options.every, to=options.store, name="balloon", serve=options.serve, port=options.port, wait=True)
    trainer.register_hooks([hook])
    trainer.train()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C stops trainer and server
        main()
