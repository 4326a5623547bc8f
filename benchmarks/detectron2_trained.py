"""A Mask R-CNN of full size that trains for a few minutes, and pictures that it hasn't seen, for detectron2_models.py.

What random weights find is often hardly a pixel wide, and their masks are noise; what a trained model finds is not.
"""

from __future__ import annotations

import itertools
import logging
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from detectron2_balloon import SIDE, make_pictures

PICTURES, BATCH = 200, 2  # to learn from, and how many at once
RATE, WARM = 0.01, 50  # the learning rate, and iterations until it is reached
LARGER = 1.25  # than the balloons of the example, since the zoo's smallest anchors are 32 pixels wide


def config() -> Any:
    """The zoo's Mask R-CNN with all its channels, but for one class, and normalisation that learns, since it begins with random weights."""
    from detectron2 import model_zoo

    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    cfg.MODEL.RESNETS.NORM, cfg.MODEL.BACKBONE.FREEZE_AT = "BN", 0
    cfg.MODEL.PIXEL_STD = [57.4, 57.1, 58.4]  # the zoo's own, 1, are for weights that come from elsewhere
    cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 1, 32
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 200
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (int(SIDE * LARGER),), int(SIDE * LARGER)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = int(2 * SIDE * LARGER), int(3 * SIDE * LARGER)  # for `pictures`
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    return cfg


def train(cfg: Any, iterations: int) -> nn.Module:
    """Return a model of a configuration that learned from so many batches of pictures of balloons; print its losses meanwhile."""
    from detectron2.data import DatasetMapper, build_detection_train_loader
    from detectron2.modeling import build_model
    from detectron2.utils.events import EventStorage

    torch.manual_seed(0)
    np.random.seed(0)  # detectron2's augmentations draw from it
    random.seed(0)
    logging.getLogger("detectron2").setLevel(logging.ERROR)
    model = build_model(cfg).train()
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=1e-4)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / WARM, 0.1 if i >= 0.8 * iterations else 1.0))
    with tempfile.TemporaryDirectory() as folder, EventStorage():
        made = make_pictures(Path(folder), PICTURES, seed=0)
        mapper = DatasetMapper(cfg, is_train=True)
        batches = build_detection_train_loader(made, mapper=mapper, total_batch_size=BATCH, num_workers=0)
        for i, batch in enumerate(itertools.islice(batches, iterations)):
            losses = model(batch)
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rates.step()
            if i % 50 == 0 or i == iterations - 1:
                print(f"iteration {i + 1}:", ", ".join(f"{name} {loss.item():.2f}" for name, loss in losses.items()), flush=True)
    return model.eval()


def pictures(sizes: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
    """Return a picture of each size (height, width), uint8 [height, width, 3] in RGB: four side by side that were not learned from."""
    with tempfile.TemporaryDirectory() as folder:
        made = [np.asarray(Image.open(one["file_name"])) for one in make_pictures(Path(folder), 4 * len(sizes), seed=1)]
    squares = [np.vstack([np.hstack(made[i : i + 2]), np.hstack(made[i + 2 : i + 4])]) for i in range(0, len(made), 4)]
    return [np.asarray(Image.fromarray(square).resize((width, height))) for square, (height, width) in zip(squares, sizes, strict=True)]
