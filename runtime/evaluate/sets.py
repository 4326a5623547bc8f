"""Which form a data set has, by what lies there and by what the model answers."""

from __future__ import annotations

from pathlib import Path

from exportweb.card import Card
from exportweb.errors import DataError
from exportweb.runtime.evaluate import coco, image_folder, regions, voc
from exportweb.runtime.evaluate.data import Data
from exportweb.runtime.evaluate.kinds import Kind
from exportweb.runtime.evaluate.names import Matching

_EXPECTED = {
    "scores": "an image folder: a folder of images for each class",
    "objects": f"a COCO JSON, or a VOC folder with {voc.ANNOTATIONS} and {voc.IMAGES}",
    "regions": f"a VOC folder with {voc.IMAGES} and SegmentationClass, or a folder with images and masks",
}


def open_data(
    path: Path, kind: Kind, card: Card, *, how: Matching | None = None, images: Path | None = None, split: str | None = None
) -> Data:
    """Read a data set for a model that answers in this kind and has this card; `how` says how labels are matched.

    `images` is where those of a COCO JSON lie, `split` which of VOC's image sets is meant. Raises `DataError` that says what was expected
    instead.
    """
    how = how or Matching()
    if not path.exists():
        raise DataError(f"There is nothing at {path}; it should be {_EXPECTED[kind.name]}.")
    if images is not None and (kind.name != "objects" or path.is_dir()):
        raise DataError(f"--images is where the images of a COCO JSON are; {path} holds its own.")
    if split is not None and not (path / "ImageSets").is_dir():
        raise DataError(f"--split is one of the image sets of a VOC folder; {path} has no ImageSets.")
    if kind.name == "scores" and path.is_dir():
        return image_folder.load(path, card.labels, how)
    if kind.name == "objects" and path.is_file():
        return coco.load(path, card, how, images=images)
    if kind.name == "objects" and (path / voc.ANNOTATIONS).is_dir():
        return voc.load(path, card, how, split=split)
    if kind.name == "regions" and path.is_dir():
        return regions.load(path, card.labels, split=split)
    raise DataError(f"{path} can't be evaluated on; for this model it should be {_EXPECTED[kind.name]}.")
