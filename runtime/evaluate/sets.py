"""Which form a data set has, by what lies there and by what the model answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from exportweb.errors import DataError
from exportweb.runtime.evaluate import image_folder
from exportweb.runtime.evaluate.data import Data
from exportweb.runtime.evaluate.kinds import Kind
from exportweb.runtime.evaluate.names import Matching

_EXPECTED = {
    "scores": "an image folder: a folder of images for each class",
    "objects": "a COCO JSON, or a VOC folder (with Annotations and JPEGImages)",
    "regions": "a VOC folder (with JPEGImages and SegmentationClass), or a folder with images and masks",
}


def open_data(path: Path, kind: Kind, labels: Sequence[str], *, how: Matching) -> Data:
    """Read a data set for a model that answers in this kind and has these labels; `how` says how those are matched.

    Raises `DataError` that says what was expected instead.
    """
    if not path.exists():
        raise DataError(f"There is nothing at {path}; it should be {_EXPECTED[kind.name]}.")
    if kind.name == "scores" and path.is_dir():
        return image_folder.load(path, labels, how)
    raise DataError(f"{path} can't be evaluated on; for this model it should be {_EXPECTED[kind.name]}.")
