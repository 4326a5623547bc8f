"""detectron2's models by their configuration: one of its model zoo, or a file of one's own, in YAML or as a LazyConfig in Python."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters import checkpoints
from exportweb.exporters.detectron2_config import configure

_SUFFIXES = (".yaml", ".py")
_HEADS = ("roi_heads.box_predictor.cls_score.bias", "roi_heads.box_predictor.0.cls_score.bias")
_MADE = ("anchor_generator.cell_anchors.", "pixel_mean", "pixel_std")  # what old checkpoints hold and models make themselves


def create(name: str, *, classes: int | None, checkpoint: Path | None, pretrained: bool) -> tuple[nn.Module, None]:
    """Make a model of a configuration: a path in the model zoo, such as ``COCO-Detection/faster_rcnn_R_50_FPN_1x``, or a file.

    Its weights are random, or those of `checkpoint`: what detectron2's trainers save, or the zoo's ``.pkl``. `classes` is how many
    things it tells apart; None for as many as the checkpoint has, or the configuration. Names and sizes are the configuration's.
    Raises `ExportError` if there is no such configuration, or the weights don't fit it.
    """
    path = _find(name)
    if pretrained:
        raise ExportError(
            f"detectron2 doesn't say where the weights of every configuration are; download those of {name} from its model zoo, and give "
            "the file: --weights model_final.pkl"
        )
    state = None if checkpoint is None else _weights(checkpoint)
    if classes is None and state is not None:
        classes = next((len(state[key]) - 1 for key in _HEADS if key in state), None)
    try:
        cfg, model = _built(path, classes)
    except Exception as error:
        raise ExportError(f"detectron2 can't build {name}: {type(error).__name__}: {error}") from error
    if state is not None:
        checkpoints.put(state, model, name=name, path=checkpoint)
    configure(model, cfg)
    return model, None


def _find(name: str) -> Path:
    """Return the file of a configuration."""
    if Path(name).suffix in _SUFFIXES and Path(name).is_file():
        return Path(name)
    try:
        root = Path(str(importlib.import_module("detectron2").__file__)).parent / "model_zoo" / "configs"
    except ImportError as error:
        raise ExportError("detectron2 is not installed: install it for this Python, as its own instructions say.") from error
    files = {path.relative_to(root): path for path in sorted(root.rglob("*")) if path.suffix in _SUFFIXES}
    known = {name.as_posix(): path for name, path in files.items() if name.parts[0] != "common"}  # which are parts of others
    for each in (name, *(name + suffix for suffix in _SUFFIXES)):
        if each in known:
            return known[each]
    raise ExportError(
        f"detectron2's model zoo has no configuration {name!r}, and there is no such file.{checkpoints.did_you_mean(name, known)}"
    )


def _built(path: Path, classes: int | None) -> tuple[Any, nn.Module]:
    """Return the configuration in a file and a model on the CPU that was built from it."""
    from detectron2.config import LazyConfig, get_cfg, instantiate
    from detectron2.modeling import build_model

    if path.suffix == ".py":
        cfg: Any = LazyConfig.load(str(path))
        if classes is not None:
            holder = cfg.model.roi_heads if "roi_heads" in cfg.model else cfg.model
            holder.num_classes = classes
        return cfg, instantiate(cfg.model).eval()
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    if classes is not None:
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.RETINANET.NUM_CLASSES = classes
        if cfg.MODEL.META_ARCHITECTURE == "SemanticSegmentor":
            cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = classes
    return cfg, build_model(cfg).eval()


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint of a trainer's, or the zoo's format; nothing in it is executed."""
    state: Mapping[str, Any] = _zoo(path) if path.suffix == ".pkl" else checkpoints.load(path)
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in state.items()
        if not any(made in name for made in _MADE)
    }


def _zoo(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            held = _Arrays(file, encoding="latin1").load()
    except (OSError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise ExportError(f"{path} can't be read as weights of detectron2's model zoo ({error}).") from error
    if not isinstance(held, dict) or not isinstance(held.get("model"), dict) or "matching_heuristics" in held:
        raise ExportError(f"{path} doesn't hold a whole model of detectron2's; it should be a model_final file of its model zoo.")
    weights: Mapping[str, Any] = held["model"]
    return weights


class _Arrays(pickle.Unpickler):
    """Reads arrays, and calls nothing else that a pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("numpy") and name in ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"):
            return super().find_class(module, name)
        if (module, name) in (("_codecs", "encode"), ("collections", "OrderedDict")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")
