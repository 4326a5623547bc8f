"""Train a small Mask R-CNN on pictures of shapes that it draws itself, and watch it find them in the browser.

    python examples/shapes.py

Choose one of the pictures that it leaves in runs/shapes-pictures, or draw a circle, a square or a triangle of your own: with every epoch
the boxes sit closer and the masks get sharper. `map50` on the page is the mean average precision of the boxes at half an overlap.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign, masks_to_boxes

from exportweb import export_hook

SIDE = 128  # pixels
LABELS = ["circle", "square", "triangle"]  # 1, 2, 3: torchvision's class 0 is the background

Sample = tuple[torch.Tensor, dict[str, torch.Tensor]]


def make_model() -> MaskRCNN:
    """A Mask R-CNN from random weights: four convolutions, and a pyramid over the last two of them."""
    layers, before = OrderedDict[str, nn.Module](), 3
    for i, after in enumerate((16, 32, 64, 64)):
        layers[f"layer{i}"] = nn.Sequential(
            *(nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()),
            *(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()),
        )
        before = after
    backbone = BackboneWithFPN(nn.Sequential(layers), {"layer2": "0", "layer3": "1"}, [64, 64], 64)
    maps = ["0", "1"]
    return MaskRCNN(
        backbone,
        min_size=SIDE,
        max_size=2 * SIDE,
        rpn_anchor_generator=AnchorGenerator(((20,), (36,), (64,)), ((0.7, 1.0, 1.4),) * 3),
        rpn_pre_nms_top_n_train=300,
        rpn_post_nms_top_n_train=100,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_test=60,
        rpn_batch_size_per_image=64,
        box_roi_pool=MultiScaleRoIAlign(maps, 7, 2),
        box_head=TwoMLPHead(64 * 7 * 7, 128),
        box_predictor=FastRCNNPredictor(128, 1 + len(LABELS)),
        box_batch_size_per_image=32,
        box_detections_per_img=20,
        mask_roi_pool=MultiScaleRoIAlign(maps, 10, 2),
        mask_head=MaskRCNNHeads(64, (32, 32), 1),
        mask_predictor=MaskRCNNPredictor(32, 32, 1 + len(LABELS)),
    )


def draw(random: np.random.Generator) -> Sample:
    """One picture, float32 [3, SIDE, SIDE] from 0 to 1, and its objects: boxes [D, 4], labels [D], masks [D, SIDE, SIDE]."""
    light, dark = random.integers(0, 256, (2, 3))
    ramp = np.linspace(0, 1, SIDE)[:, None, None] * np.ones((1, SIDE, 1))
    pixels = light * ramp + dark * (1 - ramp) + random.normal(0, 8, (SIDE, SIDE, 3))
    masks, labels = np.zeros((0, SIDE, SIDE), bool), []
    for _ in range(random.integers(1, 5)):
        label, radius = int(random.integers(1, 4)), random.uniform(10, 28)
        x, y = random.uniform(radius, SIDE - radius, 2)
        canvas = Image.new("1", (SIDE, SIDE))
        if label == 1:
            ImageDraw.Draw(canvas).ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
        else:
            corners, turn = 6 - label, random.uniform(0, 2 * math.pi)
            angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
            ImageDraw.Draw(canvas).polygon([(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles], fill=1)
        mask = np.array(canvas)
        if ((mask & masks).sum((1, 2)) > 0.3 * masks.sum((1, 2))).any():
            continue  # it would hide too much of another
        masks = np.concatenate([masks & ~mask, mask[None]])
        labels.append(label)
        pixels[mask] = random.integers(0, 256, 3) + random.normal(0, 8, (int(mask.sum()), 3))
    image = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)).permute(2, 0, 1) / 255
    tensor = torch.from_numpy(masks)
    return image, {"boxes": masks_to_boxes(tensor), "labels": torch.tensor(labels), "masks": tensor.to(torch.uint8)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--pictures", type=int, default=320, help="to train on in an epoch (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--no-serve", dest="serve", action="store_false", help="only publish versions, start no server")
    parser.add_argument("--store", default="runs/shapes", help="where the versions go (default: %(default)s)")
    options = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    held_out = [draw(random) for _ in range(max(options.pictures // 4, 1))]
    folder = Path(f"{options.store}-pictures")
    folder.mkdir(parents=True, exist_ok=True)
    for i, (image, _) in enumerate(held_out[:8]):
        Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(folder / f"{i}.png")

    model = make_model()
    batches = -(-options.pictures // 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, epochs=options.epochs, steps_per_epoch=batches)
    hook = export_hook(model, every=1, labels=LABELS, name="shapes", to=options.store, serve=options.serve, port=options.port)

    for epoch in range(options.epochs):
        model.train()
        for _ in range(batches):
            images, targets = zip(*(draw(random) for _ in range(8)), strict=True)
            loss = sum(model(list(images), list(targets)).values())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            precision = MeanAveragePrecision(iou_thresholds=[0.5])
            for image, target in held_out:
                precision.update(model([image]), [target])
            map50 = precision.compute()["map_50"]
        print(f"epoch {epoch + 1}: loss {loss:.3f}, map50 {map50:.3f}", flush=True)
        hook.step(loss=loss, map50=map50)

    hook.wait()  # the page stays up until Ctrl-C


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C stops trainer and server
        main()
