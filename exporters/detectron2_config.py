"""What a detectron2 model doesn't say itself and its configuration does: how large images are, and the names of what it finds."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn

from exportweb.errors import ExportError
from exportweb.exporters.unwrap import unwrap

SHORT, LONG = 800, 1333  # detectron2's own defaults

_PERSON = "keypoints_coco_2017_val"


class Settings(NamedTuple):
    """What a configuration says of a model.

    `short` and `long` are what `ResizeShortestEdge` takes when testing, in pixels, `short` 0 for images as they are, `long` 0 for no limit.
    `color` is the order of the channels, None where the model says it. Names are None where nothing knows them.
    """

    short: int = SHORT
    long: int = LONG
    color: str | None = None
    things: tuple[str, ...] | None = None
    stuff: tuple[str, ...] | None = None
    keypoints: tuple[str, ...] | None = None


_known: weakref.WeakKeyDictionary[nn.Module, Settings] = weakref.WeakKeyDictionary()


def configure(model: nn.Module, cfg: Any) -> None:
    """Tell of a model by which configuration it was built: a `CfgNode` or a LazyConfig. To be called before `export_hook`.

    From it come the size of images, the order of their channels, and the names that `MetadataCatalog` has for the dataset; without it
    images are resized as detectron2 does by default, to 800 pixels of 1333 at most, and classes have numbers. The model isn't touched.
    Raises `ExportError` if it is no configuration of detectron2's.
    """
    _known[unwrap(model)] = read(cfg)


def settings(model: nn.Module) -> Settings:
    """Return what was said of a model, or detectron2's defaults."""
    return _known.get(unwrap(model), Settings())


def read(cfg: Any) -> Settings:
    """Read a configuration of either kind; raise `ExportError` if it is none."""
    try:
        if hasattr(cfg, "INPUT"):
            size = int(cfg.INPUT.MIN_SIZE_TEST), int(cfg.INPUT.MAX_SIZE_TEST)
            return _named([*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN])._replace(short=size[0], long=size[1], color=cfg.INPUT.FORMAT)
        test = cfg.dataloader.test
        mapper, dataset = test.mapper, test.dataset.names
        resize = next((each for each in mapper.augmentations if "short_edge_length" in each), None)
        size = (0, 0) if resize is None else (_one(resize.short_edge_length), int(resize.get("max_size", 0)))
        named = _named([dataset] if isinstance(dataset, str) else list(dataset))
        return named._replace(short=size[0], long=min(size[1], 1 << 30), color=mapper.get("image_format"))
    except (AttributeError, TypeError, ValueError) as error:
        raise ExportError(
            "cfg should be a configuration of detectron2's, as get_cfg() or LazyConfig.load() returns it; "
            f"got {type(cfg).__name__} ({error})."
        ) from error


def keypoints(count: int, given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of so many keypoints: those given, if they are as many, COCO's of a person, or numbers."""
    if given is None or len(given) != count:
        from detectron2.data import MetadataCatalog

        given = MetadataCatalog.get(_PERSON).get("keypoint_names", ()) if _PERSON in MetadataCatalog.list() else ()
    return tuple(given) if len(given) == count else tuple(f"keypoint_{i}" for i in range(count))


def _named(datasets: Sequence[str]) -> Settings:
    """Return the names that are known of the first of these datasets that has any."""
    from detectron2.data import MetadataCatalog

    known = set(MetadataCatalog.list())  # to ask for another would make an empty entry
    names: dict[str, tuple[str, ...]] = {}
    for dataset in datasets:
        about = MetadataCatalog.get(dataset) if dataset in known else None
        for ours, theirs in (("things", "thing_classes"), ("stuff", "stuff_classes"), ("keypoints", "keypoint_names")):
            if about is not None and ours not in names and (found := about.get(theirs)):
                names[ours] = tuple(map(str, found))
    return Settings(**names)  # type: ignore[arg-type]  # only the fields that are names


def _one(edge: Any) -> int:
    """Return the edge to resize to, of a number or of a choice that is none."""
    edges = {int(each) for each in edge} if hasattr(edge, "__iter__") else {int(edge)}
    if len(edges) != 1:
        raise ExportError(f"The configuration's test images are resized to any of {sorted(edges)}; give one short_edge_length.")
    return edges.pop()
