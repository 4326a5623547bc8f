"""Detectors of torchvision's, as small as they can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models.detection import FCOS, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import MultiScaleRoIAlign

SIZES = {"min_size": 64, "max_size": 96}
POOL: dict[str, Any] = {"featmap_names": ["0"], "sampling_ratio": 2}


def backbone(channels: int = 8) -> Any:
    """[N, 3, H, W] to [N, channels, H / 8, W / 8]."""
    layers: list[nn.Module] = []
    for before, after in ((3, 8), (8, 8), (8, channels)):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    body = nn.Sequential(*layers)
    body.out_channels = channels
    return body


def anchors() -> AnchorGenerator:
    return AnchorGenerator(((16, 32),), ((1.0,),))


def mask_rcnn(classes: int = 3, threshold: float = 0.05) -> MaskRCNN:
    """A Mask R-CNN that tells so many classes apart."""
    torch.manual_seed(0)
    return MaskRCNN(
        backbone(),
        **SIZES,
        rpn_anchor_generator=anchors(),
        rpn_post_nms_top_n_test=30,
        box_roi_pool=MultiScaleRoIAlign(output_size=3, **POOL),
        box_head=TwoMLPHead(8 * 9, 16),
        box_predictor=FastRCNNPredictor(16, classes + 1),
        box_detections_per_img=20,
        box_batch_size_per_image=16,
        box_score_thresh=threshold,
        mask_roi_pool=MultiScaleRoIAlign(output_size=4, **POOL),
        mask_head=MaskRCNNHeads(8, (8,), 1),
        mask_predictor=MaskRCNNPredictor(8, 8, classes + 1),
    )


def keypoint_rcnn(points: int = 4) -> KeypointRCNN:
    """A Keypoint R-CNN of one class, that finds everything."""
    torch.manual_seed(0)
    return KeypointRCNN(
        backbone(),
        **SIZES,
        rpn_anchor_generator=anchors(),
        rpn_post_nms_top_n_test=30,
        box_roi_pool=MultiScaleRoIAlign(output_size=3, **POOL),
        box_head=TwoMLPHead(8 * 9, 16),
        box_predictor=FastRCNNPredictor(16, 2),
        box_detections_per_img=10,
        box_score_thresh=0.0,
        keypoint_roi_pool=MultiScaleRoIAlign(output_size=4, **POOL),
        keypoint_head=nn.Sequential(nn.Conv2d(8, 512, 3, padding=1), nn.ReLU()),
        num_keypoints=points,
    )


def retinanet() -> RetinaNet:
    """A RetinaNet of 3 classes, none of them the background, that finds everything."""
    torch.manual_seed(0)
    return RetinaNet(backbone(), 3, **SIZES, anchor_generator=anchors(), score_thresh=0.0, detections_per_img=20)


def fcos() -> FCOS:
    """An FCOS of 3 classes, none of them the background, that finds everything."""
    torch.manual_seed(0)
    one = AnchorGenerator(((16,),), ((1.0,),))
    return FCOS(backbone(32), 3, **SIZES, anchor_generator=one, score_thresh=0.0, detections_per_img=20)  # its head counts in groups of 32


class Maps(nn.Module):
    """[N, 3, H, W] to 8 channels of an eighth and of a sixteenth of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = backbone(), nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        first = self.first(image)
        return {"0": first, "1": self.second(first)}


def ssd(**options: Any) -> SSD:
    """An SSD of 3 classes, besides the background, that finds everything."""
    torch.manual_seed(0)
    options.setdefault("score_thresh", 0.0)
    maps = Maps()
    maps.out_channels = [8, 8]  # type: ignore[assignment]  # torchvision asks for it
    return SSD(maps, DefaultBoxGenerator([[2], [2]]), (64, 64), 4, detections_per_img=20, **options)


def ssdlite() -> SSD:
    """The same with the head of SSDlite."""
    return ssd(head=SSDLiteHead([8, 8], [4, 4], 4, nn.BatchNorm2d))


def stir(model: nn.Module) -> None:
    """Change all weights, so that scores are not all the same."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1 + torch.rand(tensor.shape, generator=random)).add_(0.05 * torch.rand(tensor.shape, generator=random))


@torch.no_grad()
def vary(model: nn.Module) -> None:
    """Add noise to all parameters, up and down, so that answers to different queries and places differ."""
    random = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.add_(0.4 * torch.randn(parameter.shape, generator=random))


def picture(height: int, width: int) -> np.ndarray:
    """Uint8 [1, height, width, 3]: squares of random colours."""
    small = np.random.default_rng(height).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.ascontiguousarray(small[np.arange(height) * 9 // height][:, np.arange(width) * 9 // width][None])
