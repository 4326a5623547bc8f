"""detectron2's models, as small as they can be."""

from __future__ import annotations

import base64
import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from exportweb.card import Card
from exportweb.runtime import matching

CLASSES = 3


def config(name: str, *overrides: Any) -> Any:
    """The configuration of a model of the zoo, made small, on the CPU, with random weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that pkg_resources is deprecated
        from detectron2 import model_zoo

        cfg = model_zoo.get_config(name)
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS, cfg.MODEL.RESNETS.STEM_OUT_CHANNELS, cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 16, 8, 4
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST, cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 200, 60
    cfg.MODEL.RPN.CONV_DIMS = [-1]
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM, cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 8, 1
    cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS, cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = (8,), 4
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.RETINANET.NUM_CLASSES = 1 if "keypoint" in name else CLASSES
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.2
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM, cfg.MODEL.SEM_SEG_HEAD.NORM = 5, 8, ""
    cfg.TEST.DETECTIONS_PER_IMAGE = 20
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 96, 160
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    cfg.merge_from_list(list(overrides))
    return cfg


def lazy(name: str) -> tuple[Any, nn.Module]:
    """A LazyConfig of the zoo, for pictures as small as those of `config`, and its model with random weights."""
    import detectron2
    from detectron2.config import LazyConfig, instantiate

    cfg = LazyConfig.load(str(Path(detectron2.__file__).parent / "model_zoo" / "configs" / name))
    resize = cfg.dataloader.test.mapper.augmentations[0]
    resize.short_edge_length, resize.max_size = 96, 160
    torch.manual_seed(0)
    model = instantiate(cfg.model).eval()
    stir(model, seed=0)
    return cfg, model


# How far a layer's answers spread, by the end of its name: as in a model that was trained, scores differ and boxes move a little.
SPREAD = {
    "objectness_logits": 1.0,
    "anchor_deltas": 0.2,
    "cls_score": 1.5,
    "ctrness": 1.0,
    "bbox_pred": 0.5,
    "mask_head.predictor": 2.0,
    "sem_seg_head.predictor": 2.0,
    "score_lowres": 2.0,
}


def build(cfg: Any, *, seed: int = 0) -> nn.Module:
    """A model of a configuration, with random weights of moderate answers, the same on every call with the same seed."""
    from detectron2.modeling import build_model

    torch.manual_seed(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        model = build_model(cfg).eval()
    stir(model, seed=seed)
    return model


@torch.no_grad()
def stir(model: nn.Module, *, seed: int) -> None:
    """Give a model other random weights, and statistics that fit them."""
    random = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.copy_(torch.randn(parameter.shape, generator=random) * (2 / parameter[0].numel()) ** 0.5)
        else:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    hooks = [module.register_forward_hook(_fit(name)) for name, module in model.named_modules()]
    image = torch.rand((3, 12, 12), generator=random) * 255
    model([{"image": nn.functional.interpolate(image[None], (96, 160))[0]}])
    for hook in hooks:
        hook.remove()


def _fit(name: str) -> Any:
    """Return a hook that scales what a layer answers: what is normalised to a spread of 1, and the last layers as `SPREAD` says."""
    spread = next((value for end, value in SPREAD.items() if name.endswith(end) or f"{end}." in f"{name}."), None)

    fitted = False

    def fit(module: nn.Module, given: Any, answer: Any) -> Any:
        nonlocal fitted
        if fitted:  # heads are the same for all levels of a pyramid
            return None
        fitted = True
        if hasattr(module, "running_var") and hasattr(module, "running_mean"):
            values = given[0]
            module.running_mean.copy_(values.mean((0, 2, 3)))
            module.running_var.copy_(values.var((0, 2, 3)) + 1e-3)
            return module.forward(*given)
        if spread is not None and isinstance(answer, torch.Tensor) and hasattr(module, "weight") and answer.numel() > 1:
            module.weight.mul_(spread / answer.std())
            return module.forward(*given)
        return None

    return fit


def predicted(cfg: Any, model: nn.Module, image: np.ndarray) -> dict[str, Any]:
    """What detectron2's `DefaultPredictor` answers to a picture, uint8 [height, width, 3] in RGB."""
    from detectron2.engine import DefaultPredictor

    with contextlib.redirect_stdout(io.StringIO()):
        predictor = DefaultPredictor(cfg)
    predictor.model = model
    answer: dict[str, Any] = predictor(image[:, :, ::-1])
    return answer


def by_role(answer: dict[str, Any]) -> dict[str, np.ndarray]:
    """What detectron2 answers, as outputs by role.

    Of a semantic model "pixels", the class of each [height, width]; of a panoptic one "segments", bool [S, height, width], with their
    "scores" (0 of stuff) and "classes" (stuff's are below 0).
    """
    if "panoptic_seg" in answer:
        ids, about = answer["panoptic_seg"]
        return {
            "segments": np.array([(ids == one["id"]).numpy() for one in about]),
            "scores": np.array([one.get("score", 0.0) for one in about], np.float32),
            "classes": np.array([one["category_id"] if one["isthing"] else -1 - one["category_id"] for one in about]),
        }
    if "sem_seg" in answer:
        return {"pixels": answer["sem_seg"].argmax(dim=0).numpy()}
    instances = answer.get("instances", answer.get("proposals"))
    if instances.has("proposal_boxes"):
        scores = instances.objectness_logits.sigmoid().numpy()
        return {"boxes": instances.proposal_boxes.tensor.numpy(), "scores": scores, "classes": np.zeros(len(scores), np.int64)}
    found = {"boxes": instances.pred_boxes.tensor, "scores": instances.scores, "classes": instances.pred_classes}
    for role, field in (("image-masks", "pred_masks"), ("keypoints", "pred_keypoints")):
        if instances.has(field):
            found[role] = instances.get(field)
    return {role: tensor.numpy() for role, tensor in found.items()}


def served_by_role(answer: list[dict[str, Any]], card: Card) -> dict[str, np.ndarray]:
    """What was served, as outputs by role: those of `by_role`."""
    if card.task == "semantic-segmentation":
        pixels = np.full(mask(answer[0]).shape, -1)
        for one in answer:
            pixels[mask(one)] = card.labels.index(one["label"])
        return {"pixels": pixels}
    if card.task == "panoptic-segmentation":
        things = [card.labels.index(one["label"]) if one["score"] is not None else -1 - card.stuff.index(one["label"]) for one in answer]
        scores = np.array([one["score"] or 0.0 for one in answer], np.float32)
        return {"segments": np.array([mask(one) for one in answer]), "scores": scores, "classes": np.array(things)}
    found: dict[str, Any] = {
        "boxes": np.array([list(one["box"].values()) for one in answer], np.float32).reshape(-1, 4),
        "scores": np.array([one["score"] for one in answer], np.float32),
        "classes": np.array([card.labels.index(one["label"]) for one in answer], np.int64),
    }
    if answer and "mask" in answer[0]:
        found["image-masks"] = np.stack([mask(one) for one in answer])
    if answer and "keypoints" in answer[0]:
        found["keypoints"] = np.array([[[p["x"], p["y"], p["score"]] for p in one["keypoints"]] for one in answer], np.float32)
    return found


def mask(one: dict[str, Any]) -> np.ndarray:
    """The mask of something that was served: bool [height, width]."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(one["mask"])))) > 0


def distances(expected: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> dict[str, float]:
    """How far two answers to one picture, by role, are apart, by what is far.

    Boxes and keypoints as a part of the largest coordinate; pixels as a part of all, or of those in masks.
    """
    if "pixels" in expected:
        return {"pixels": float((expected["pixels"] != got["pixels"]).mean())}
    if "segments" in expected:
        if not np.array_equal(expected["classes"], got["classes"]):
            return {"segments": 1.0}
        off = np.count_nonzero(expected["segments"] != got["segments"])
        return {"scores": _most(expected["scores"], got["scores"]), "pixels": off / expected["segments"][0].size}
    same = matching.pairs(expected, got, tolerance=1e-3)
    alone = len(same.missing) + len(same.extra)
    ours, theirs = ({role: side[role][places] for role in expected} for side, places in ((got, same.got), (expected, same.expected)))
    side = float(np.abs(expected["boxes"]).max())
    found = {"boxes": _most(ours["boxes"], theirs["boxes"]) / side, "scores": _most(ours["scores"], theirs["scores"])}
    if alone:
        found["objects of one side alone, a share of"] = alone / len(expected["scores"])
    if "image-masks" in expected:
        found["masks"] = np.count_nonzero(ours["image-masks"] != theirs["image-masks"]) / max(1, np.count_nonzero(theirs["image-masks"]))
    if "keypoints" in expected:
        found["keypoints"] = _most(ours["keypoints"][..., :2], theirs["keypoints"][..., :2]) / side
        found["their scores"] = _most(ours["keypoints"][..., 2], theirs["keypoints"][..., 2])
    return found


def _most(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max(initial=0))
