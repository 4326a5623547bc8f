"""Pictures with maps of the classes of their pixels: VOC's SegmentationClass, or any folder of pictures beside a folder of maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from exportweb.errors import DataError
from exportweb.runtime.evaluate.data import Data, Example, hidden, pictures
from exportweb.runtime.evaluate.mean_iou import MeanIou
from exportweb.runtime.evaluate.voc import IMAGES, read_split

_FOLDERS = ((IMAGES, "SegmentationClass"), ("images", "masks"), ("images", "labels"), ("images", "annotations"))


def load(folder: Path, labels: Sequence[str], *, split: str | None = None) -> Data:
    """Read which pictures have a map: a PNG of the same name, below ``masks`` or ``labels`` where pictures are below ``images``, or as VOC
    has them (with `split`, those of ``ImageSets/Segmentation/<split>.txt``).

    The values of maps are the places of the model's labels; 255 is no class. Raises `DataError` if there is no such pair.
    """
    for images, maps in _FOLDERS:
        if (folder / images).is_dir() and (folder / maps).is_dir():
            break
    else:
        pairs = ", ".join(" and ".join(pair) for pair in _FOLDERS)
        raise DataError(f"{folder} should hold two folders, of pictures and of maps of their pixels' classes: {pairs}.")
    found = {path.relative_to(folder / images).with_suffix("").as_posix(): path for path in pictures(folder / images)}
    known = {path.relative_to(folder / maps).with_suffix("").as_posix(): path for path in sorted((folder / maps).rglob("*.png"))}
    known = {name: path for name, path in known.items() if not hidden(Path(name))}
    names = read_split(folder, "Segmentation", split) if split else [name for name in known if name in found]
    missing = [name for name in names if name not in known or name not in found]
    if missing or not names:
        what = f"{missing[0]} of the split is not among them" if missing else "no two files have the same name"
        raise DataError(f"{folder} has {len(found)} pictures in {images} and {len(known)} maps (PNG) in {maps}; {what}.")
    examples = [Example(found[name], known[name]) for name in names]
    return Data(f"{folder}, {len(examples)} pictures with maps of {len(labels)} classes", examples, lambda: MeanIou(labels))
